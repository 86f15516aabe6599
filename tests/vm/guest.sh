# What the virtual machine runs, as root, with the repository's tests in /trial and procq installed in /opt/venv.
cd /trial || exit 1
export PATH=/opt/venv/bin:$PATH HOME=/root LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
stty -F /dev/ttyS1 -onlcr 2>/dev/null
/opt/venv/bin/pip install -q --no-index --no-deps --force-reinstall /trial/wheels/procq-*.whl
echo "kernel $(uname -r), $(systemctl --version | head -n 1), $(python3 --version), $(procq --version)"
sh /trial/command
echo "procq-vm: exit $?"
