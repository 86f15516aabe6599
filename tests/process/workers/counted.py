"""Does N jobs that are told by procq.worker, the last of them in vain, and then has none. counted.py N."""

import sys
import time

from procq import worker

worker.ready()
number = int(sys.argv[1])
for n in range(number):
    with worker.job(str(n), "task"):
        if n == number - 1:
            worker.failed()
while worker.may_work():
    time.sleep(0.01)
