"""Starts sushy-emulator, whose fake systems take up to eleven seconds to obey, with another patience."""
import random
import sys

slowest = int(sys.argv.pop(1))
random.randint = lambda least, most: min(most, slowest)

from sushy_tools.emulator.main import main  # noqa: E402

main()
