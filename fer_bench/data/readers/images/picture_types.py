"""What kind of file it is: by its first bytes, as suffixes lie or are missing."""

from pathlib import Path, PurePosixPath

SUFFIXES = frozenset(
    (".avif", ".bmp", ".dib", ".gif", ".hdr", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm")
    + (".pic", ".png", ".pnm", ".ppm", ".ras", ".sr", ".tif", ".tiff", ".webp")
)
"""Names of the formats that are read."""
RAW = "a camera's raw file"
"""These are often TIFF of their own kind."""
UNREAD = {
    **dict.fromkeys((".heic", ".heif"), "HEIC"),
    **dict.fromkeys((".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".raw", ".rw2"), RAW),
    **dict.fromkeys((".psd", ".psb"), "Photoshop"),
    **dict.fromkeys(
        (".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"), "video"
    ),
    **dict.fromkeys((".ico", ".icns", ".jxl", ".svg", ".tga", ".xcf"), "a picture of another format"),
}
"""Names of pictures that are not read."""
TEXT = frozenset((".csv", ".db", ".ini", ".json", ".log", ".lst", ".mat", ".md", ".npy", ".npz", ".pdf", ".pts", ".py"))
TEXT |= {".tsv", ".txt", ".xls", ".xlsx", ".xml", ".yaml", ".yml", ".zip"}
"""Names of files that hold no picture, and need not be opened to know it."""
READ_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ", b"\x59\xa6\x6a\x95")
UNREAD_MAGIC = {b"8BPS": "Photoshop", b"\x1aE\xdf\xa3": "video", b"\0\0\1\xba": "video", b"\0\0\1\xb3": "video"}
HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def is_picture(path: Path) -> bool:
    """Whether the file is a picture or a video, readable or not; opened only where its name does not say."""
    suffix = PurePosixPath(path.name).suffix.lower()
    if suffix in SUFFIXES or suffix in UNREAD:
        return True
    if suffix in TEXT:
        return False
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    return _is_read(head) or bool(_unread(head))


def is_video(path: Path) -> bool:
    """Whether the file is a video by its first bytes, or else by its name."""
    try:
        with path.open("rb") as file:
            return why_unread(file.read(16), path.name) == "video"
    except OSError:
        return False


def why_unread(head: bytes, name: str) -> str:
    """What kind of picture that is not read the file is, by its first bytes, else by its name; "" for all others."""
    kind = UNREAD.get(PurePosixPath(name).suffix.lower(), "")
    if _is_read(head):
        return kind if kind == RAW else ""
    return _unread(head) or kind


def _is_read(head: bytes) -> bool:
    netpbm = head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace()
    return head.startswith(READ_MAGIC) or netpbm or head[4:12] == b"ftypavif" or head[:4] + head[8:12] == b"RIFFWEBP"


def _unread(head: bytes) -> str:
    if head[4:8] == b"ftyp":
        return "HEIC" if head[8:12] in HEIC else "" if head[8:12] == b"avif" else "video"
    if head[:4] + head[8:12] == b"RIFFAVI ":
        return "video"
    return next((kind for magic, kind in UNREAD_MAGIC.items() if head.startswith(magic)), "")
