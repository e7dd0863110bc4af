"""`python -m rbt` and `torchrun -m rbt pretrain`."""

from rbt.cli import main

main()
