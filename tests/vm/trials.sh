# All trials of the virtual machine. Fails where one of them does.
PROCQ_TEST_PATIENCE=120 pytest -p no:cacheprovider --timeout 600 -v --color=no -m vm tests/vm
