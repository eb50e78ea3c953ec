"""Folders of images as people have them: deeper folders, other files, copies, several sizes."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chainrule.data import ImageFiles, read_image_files, read_images
from chainrule.data.images.copies import groups
from chainrule.errors import ChainruleError, FileError
from chainrule.train import Recipe, Run
from chainrule.train.runs import training as runs
from chainrule.train.runs.folder import fingerprint
from chainrule.train.runs.tasks import ImageTask
from commands import call, expect_one_error

rng = np.random.default_rng(0)


def save(path: Path, shape: tuple[int, ...] = (8, 8), low: int = 0, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(low, low + 120, shape).astype(np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


# ── which files are read ─────────────────────────────────────────────────────────────────────────


def test_folders_inside_a_class_belong_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "d"
    for k in range(12):
        save(folder / "animals" / ("birds" if k % 2 else "cats/large") / f"{k}.png")
        save(folder / "cars" / ("." if k % 3 else "old") / f"{k}.png", low=130)
    (folder / "animals" / "birds" / "up").symlink_to(folder, target_is_directory=True)
    wanted = sorted(p for p in folder.glob("*/**/*.png") if "up" not in p.parts)
    images = read_images(folder)
    assert images.files == [str(p) for p in wanted]
    assert [images.classes[k] for k in images.y] == [p.relative_to(folder).parts[0] for p in wanted]
    assert images.notes == []
    run = runs.train(Recipe(source=str(folder), epochs=10), tmp_path / "r", progress=False).run
    assert Run.open(run).evaluate(folder)[0] == 24
    assert Run.open(run).predict(folder, warn=False)["file"] == images.files
    shutil.copy(folder / "animals/birds/1.png", folder / "animals/birds/99.png")
    expect_one_error(capsys, ["evaluate", run], "has changed")


@pytest.mark.parametrize(
    "names",
    [
        ["train/a/1", "train/b/1", "test/a/2", "test/b/2"],
        ["train/a/1", "train/b/1", "test/1"],
        ["2023/a/1", "2023/b/1", "2024/a/1", "2024/b/1"],
        ["all/a/1", "all/b/1"],
    ],
)
def test_parts_of_a_data_set_are_no_classes(names: list[str], tmp_path: Path) -> None:
    for name in names:
        save(tmp_path / f"{name}.png")
    with pytest.raises(FileError, match=r"contain folders; .*train on one of them, .*CSV file"):
        read_images(tmp_path)


def test_deeper_folders_alone_are_read(tmp_path: Path) -> None:
    for name in ("cats/persian/1", "cats/siamese/1", "dogs/poodle/1"):
        save(tmp_path / f"{name}.png")
    assert read_images(tmp_path).y.tolist() == [0, 0, 1]


def test_other_files_and_folders_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "d"
    for k in range(8):
        save(folder / "a" / f"{k}.png")
        save(folder / "b" / f"{k}.png", low=130)
    for name in ("a/1.heic", "b/deep/2.HEIC", "b/3.avif", "b/README", "b/.DS_Store", "b/Thumbs.db"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"0")
    for name in ("__MACOSX", ".git", "none"):
        (folder / name).mkdir()
    save(folder / "loose.png")
    (folder / "list.txt").touch()
    count = "4 files are not images that are read (.heic 2, .avif 1, no ending 1)"
    assert read_images(folder).notes == [
        f"folders without images: {folder / 'none'}; they are left out",
        f"images outside of the folders of classes are left out: {folder / 'loose.png'}",
        f"folders left out: {folder / '.git'}, {folder / '__MACOSX'}",
        count,
    ]
    assert read_images(folder).classes == ["a", "b"]
    assert read_image_files(folder / "b").notes == [
        "3 files are not images that are read (.avif 1, .heic 1, no ending 1)"
    ]
    code, _, said = call(capsys, "train", folder, "--epochs", "1", "--out", tmp_path / "r")
    assert (code, count in said) == (0, True)


def test_classes_without_images(tmp_path: Path) -> None:
    save(tmp_path / "a" / "1.png")
    (tmp_path / "b").mkdir()
    with pytest.raises(FileError, match=r"the single class 'a', and .*/b with no images"):
        read_images(tmp_path)
    (tmp_path / "a" / "1.png").unlink()
    with pytest.raises(FileError, match=r"the sub-folders .*/a, .*/b with no images"):
        read_images(tmp_path)


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        save(tmp_path / name / "1.png")
    listed = Path.iterdir

    def iterdir(self: Path) -> Any:
        if self.name == "b":
            raise PermissionError(13, "Permission denied")
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(FileError, match=r"b, which cannot be read: Permission denied"):
        read_images(tmp_path)


def test_a_jfif_file_is_a_jpeg_file(tmp_path: Path) -> None:
    save(tmp_path / "1.jfif", (9, 7, 3), format="JPEG")
    wanted = np.asarray(Image.open(tmp_path / "1.jfif"))
    np.testing.assert_array_equal(read_image_files(tmp_path).x[0], wanted)


@pytest.mark.parametrize("kind", ["EPS", "PPM", "ICO", "TGA", "PCX"])
def test_other_formats_under_the_name_of_one_that_is_read(kind: str, tmp_path: Path) -> None:
    """An EPS file would start another program."""
    save(tmp_path / "1.png", (16, 16, 3), format=kind)
    with pytest.raises(FileError, match="it is not an image of a format that is read"):
        read_image_files(tmp_path / "1.png")


# ── a run recognises its data ────────────────────────────────────────────────────────────────────


def test_the_fingerprint_is_of_images_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1.png", "a/deep/2.png", "b/3.png"):
        save(tmp_path / name)
    names = ["a/1.png", "a/deep/2.png", "b/3.png"]
    lines = [f"{n} {hashlib.sha256((tmp_path / n).read_bytes()).hexdigest()}" for n in names]
    before = fingerprint(str(tmp_path))
    assert before == "contents " + hashlib.sha256("\n".join(lines).encode()).hexdigest()
    for other in ("a/notes.txt", "a/.DS_Store", "b/video.mp4"):
        (tmp_path / other).write_bytes(b"0" * 1000)
    monkeypatch.setattr(Path, "read_bytes", None)
    assert fingerprint(str(tmp_path)) == before
    save(tmp_path / "a" / "deep" / "2.png")
    assert fingerprint(str(tmp_path)) != before


def test_a_file_that_may_not_be_read_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "d"
    for k in range(12):
        save(folder / "a" / f"{k}.png")
        save(folder / "b" / f"{k}.png", low=130)
    opened = io.open

    def refuse(path: Any, *args: Any, **named: Any) -> Any:
        if str(path).endswith(os.path.join("a", "3.png")):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **named)

    monkeypatch.setattr("builtins.open", refuse)
    done = runs.train(Recipe(source=str(folder), epochs=2), tmp_path / "r", progress=False)
    assert Run.open(done.run).evaluate()[0] == 5
    (note,) = ImageTask.load(Recipe(source=str(folder))).notes
    assert note.startswith("1 of 24 images is left out: ")
    assert "Permission denied" in note


# ── copies ───────────────────────────────────────────────────────────────────────────────────────


def test_groups_of_files_with_the_same_bytes(tmp_path: Path) -> None:
    long = rng.bytes(1 << 17)
    contents = [b"a", b"b", b"a", long, long[:-1] + b"x", long, b"x" + long[1:], b"ab"]
    files = [tmp_path / str(k) for k in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    (tmp_path / "link").symlink_to(files[1])
    (tmp_path / "deep").mkdir()
    again = [*files, tmp_path / "link", tmp_path / "deep" / ".." / "7", tmp_path / "gone"]
    same = groups(again)
    of = [*contents, b"b", b"ab", None]
    for k in range(len(of)):
        assert [same[k] == n for n in same] == [of[k] == o for o in of]
    assert groups([]).shape == (0,)


def test_the_same_image_in_two_classes_and_in_two_parts(tmp_path: Path) -> None:
    for k in range(20):
        save(tmp_path / "a" / f"{k:02}.png")
        save(tmp_path / "b" / f"{k:02}.png", low=130)
    for k in range(3):
        shutil.copy(tmp_path / "a" / f"{k:02}.png", tmp_path / "b" / f"copy {k}.png")
    for k in range(20):
        shutil.copy(tmp_path / "a" / f"{k:02}.png", tmp_path / "a" / f"copy {k:02}.png")
    images = read_images(tmp_path)
    said = f"3 images are in several classes, the same bytes in {tmp_path / 'a/00.png'} and "
    assert images.notes[0].startswith(said)
    assert ImageFiles(tmp_path).notes == images.notes
    task = ImageTask.load(Recipe(source=str(tmp_path)))
    held_out = [*task.valid[0], *task.test[0]]
    trained = {x.tobytes() for x in task.train[0]}
    count = sum(x.tobytes() in trained for x in held_out)
    assert count > 3
    assert task.notes[1].startswith(
        f"{count} of {len(held_out)} validation and test images are in the training images too, "
    )


def test_labels_that_contradict_each_other(tmp_path: Path) -> None:
    save(tmp_path / "a" / "0.png")
    save(tmp_path / "a" / "1.png")
    path = tmp_path / "list.csv"
    path.write_text("file,label\na/0.png,cat\na/../a/0.png,dog\na/1.png,dog\n")
    repeated, differ = read_images(path).notes
    assert repeated.startswith(f"files repeated in {path}: 1;")
    first = os.path.realpath(tmp_path / "a" / "0.png")
    assert (
        differ == f"labels of {path} contradict each other for 1 file, such as {first}: cat and dog"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "x.csv"),
        ("file,label\n0.png,cat\n".encode("utf-16"), "not UTF-8"),
        (b"file,label\n0.png,cat\n1.png,NA\n", "line 3, where it is blank, or NA, NULL or None"),
        (b"x,label\n0,cat\n1,dog\n", "no columns of image files"),
    ],
)
def test_tables_that_are_no_lists_of_images(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    for k in range(2):
        save(tmp_path / f"{k}.png")
    with pytest.raises(ChainruleError, match=says) as caught:
        read_images(tmp_path / "x.csv")
    assert "folder" not in str(caught.value)


# ── sizes ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("sizes", "usual", "size"),
    [
        ([(20, 10), (20, 10), (30, 30), (12, 40)], (20, 10), (20, 10)),
        ([(190, 190), (100, 400), (100, 200), (50, 100), (80, 160)], (85, 170), (32, 64)),
        ([(10, 10), (40, 40), (20, 20)], (20, 20), (20, 20)),
    ],
    ids=["half", "median", "squares"],
)
def test_the_size_of_the_job(sizes: Any, usual: Any, size: Any, tmp_path: Path) -> None:
    """Median: of the roots of areas 190, 200, 141, 71, 113, and of the shapes 1, ¼, ½, ½, ½."""
    for k, (height, width) in enumerate(sizes):
        save(tmp_path / f"{k}.png", (height, width))
    images = read_image_files(tmp_path)
    assert images.x.shape[1:3] == size
    if usual == (85, 170):
        usual = round(np.sqrt(100 * 200 / 2)), round(np.sqrt(100 * 200 * 2))
    assert images.usual == usual


# ── orientation, levels ──────────────────────────────────────────────────────────────────────────


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize(
    "how",
    ["xmp jpg", "xmp png", "late xmp png", "late exif png", "xmp tif", "exif tif", "xmp webp"],
)
def test_an_orientation_wherever_it_is(how: str, tmp_path: Path) -> None:
    *_, kind = how.split()
    path, pixels = tmp_path / f"a.{kind}", np.zeros((16, 32), np.uint8)
    pixels[:8, :8] = 255
    options: dict[str, Any] = {
        "jpg": {"xmp": XMP, "quality": 100},
        "tif": {"tiffinfo": {700: XMP} if "xmp" in how else {0x0112: 6}},
        "webp": {"xmp": XMP, "lossless": True},
    }
    Image.fromarray(pixels).save(path, **options.get(kind, {}))
    if kind == "png":
        exif = Image.Exif()
        exif[0x0112] = 6
        text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
        new = chunk(b"eXIf", exif.tobytes()[6:]) if "exif" in how else text
        raw = path.read_bytes()
        place = len(raw) - 12 if "late" in how else 33
        path.write_bytes(raw[:place] + new + raw[place:])
    images = read_image_files(path)
    assert images.usual == (32, 16), "the size from the head"
    np.testing.assert_allclose(images.x[0, ..., 0], np.rot90(pixels, -1), atol=3)


@pytest.mark.parametrize("zero", [0, 1])
def test_16_bits_of_which_0_is_white(zero: int, tmp_path: Path) -> None:
    """A TIFF file by hand: tag 262 is 0 where 0 is white, 1 where it is black."""
    tags = {256: 2, 257: 1, 258: 16, 259: 1, 262: zero, 273: 8, 277: 1, 278: 1, 279: 4}
    entries = b"".join(struct.pack("<HHII", t, 3, 1, v) for t, v in sorted(tags.items()))
    body = struct.pack("<2sHI2H", b"II", 42, 12, 0, 65535 // 5)
    body += struct.pack("<H", len(tags)) + entries + bytes(4)
    (tmp_path / "a.tif").write_bytes(body)
    grey = [0, 51] if zero else [255, 204]
    np.testing.assert_allclose(read_image_files(tmp_path / "a.tif").x.ravel(), grey, rtol=1e-6)
