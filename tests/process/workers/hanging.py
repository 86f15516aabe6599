"""A FUSE file system that answers the greeting and nothing else: whoever looks at it waits in the kernel.

hanging.py FOLDER: mounts itself there, and writes `mounted`, then `asked` for each request that it keeps. Where that is
not possible it writes why. Needs root and /dev/fuse.
"""

import ctypes
import os
import struct
import sys

INIT = 26

libc = ctypes.CDLL(None, use_errno=True)
folder = os.fsencode(sys.argv[1])
try:
    device = os.open("/dev/fuse", os.O_RDWR)
except OSError as error:
    sys.exit(print(f"no /dev/fuse: {error}", flush=True))
options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
if libc.mount(b"hanging", folder, b"fuse", 0, options) != 0:
    sys.exit(print(f"no mount: {os.strerror(ctypes.get_errno())}", flush=True))
request = os.read(device, 1 << 17)
_, operation, unique = struct.unpack_from("IIQ", request)
assert operation == INIT, operation
major, minor, readahead = struct.unpack_from("III", request, 40)
answer = struct.pack("IIIIHHI", major, min(minor, 31), readahead, 0, 12, 10, 1 << 16).ljust(64, b"\0")
os.write(device, struct.pack("IiQ", 16 + len(answer), 0, unique) + answer)
print("mounted", flush=True)
while os.read(device, 1 << 17):
    print("asked", flush=True)
