"""Copy screenshots of the browser test into docs/images, with fewer colours: `make screenshots`."""

from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parent.parent
SOURCE, TARGET = ROOT / ".local" / "screenshots", ROOT / "docs" / "images"
IMAGES = {"start-1280-light.png": "admin-start.png", "one-anime-1280-light.png": "admin-anime.png"}
MAX_HEIGHT = 820

if __name__ == "__main__":
    for source, target in IMAGES.items():
        with Image.open(SOURCE / source) as image:
            part = image.convert("RGB").crop((0, 0, image.width, min(image.height, MAX_HEIGHT)))
            part.quantize(64).save(TARGET / target, optimize=True)
