"""A folder with all that a device without a network needs: the model, wheels, a start script, checksums."""

from aerocam.bundle.targets import TARGETS, Target, find_target
from aerocam.bundle.writing import Bundle, make_bundle
