"""Drawing towns: drone mosaics that never were, with the exact footprints of their roofs.

For trying buildex out, and for training: every roof edge is known to a fraction of a
pixel. Shadows, colours and clutter follow real mosaics of towns in Africa and South Asia.
"""

from buildex.rendering.town import (
    RenderConfig,
    RenderedTown,
    make_folder,
    render_town,
    write_town,
)

__all__ = ["RenderConfig", "RenderedTown", "make_folder", "render_town", "write_town"]
