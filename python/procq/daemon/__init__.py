"""The control plane: a process that decides, and that may die at any moment without costing a worker anything.

`python -m procq.daemon` is started by the keeper, never by a person. It attaches to the keeper, takes up what the one
before it intended, or loads the manifest, and then keeps what runs equal to what is wanted.
"""
