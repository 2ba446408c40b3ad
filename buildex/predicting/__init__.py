"""Draw the buildings of a mosaic: read tiles, segment, group, stitch, finish, write.

The mosaic is read tile by tile and the buildings leave as they are finished; neither is
ever held as a whole. What the tiles saw is kept as polygons in pixels of the mosaic's
working grid (metric, north-up); the buildings leave in the mosaic's own CRS. A journal
beside the output lets an interrupted run go on.
"""

from buildex.predicting.drawing import Seen, buildings_of, look
from buildex.predicting.model import ModelOpener, OpenModel, draw_preview, open_model
from buildex.predicting.rehearsing import JobOutlook, Outlook, rehearse, rehearse_all
from buildex.predicting.report import PredictReport
from buildex.predicting.running import predict
from buildex.predicting.settings import Pixels, PredictConfig, Segmenter
from buildex.predicting.several import JobReport, mosaics_in, predict_all
from buildex.predicting.sharing import Crew, Opener

__all__ = [
    "Crew", "JobOutlook", "JobReport", "ModelOpener", "OpenModel", "Opener", "Outlook", "Pixels",
    "PredictConfig", "PredictReport", "Seen", "Segmenter", "buildings_of", "draw_preview", "look",
    "mosaics_in", "open_model", "predict", "predict_all", "rehearse", "rehearse_all",
]  # fmt: skip
