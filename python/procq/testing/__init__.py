"""For tests of your own: a scripted keeper without processes, and a clock that only you move."""
