"""Data: batches, splits, tables and their encoding, images, text, and the built-in sets.

loader    `DataLoader`: batches of arrays
draws     random numbers that belong to rows
source    rows that are made when they are read
ahead     what a background thread computes ahead
split     `split` and `train_test_split`: which rows are training, validation, test
tables    tables: files, kinds of columns, encoding
images    images: folders, tables of names, files of many images
text      characters or bytes as codes
sequences sequences as arrays: padded, windows, parallel streams
buckets   `BucketLoader`: batches of sequences of similar length
builtin   the built-in data sets
paths     checks of a path before it is opened
"""

from ..hints import hide_modules
from .buckets import BucketLoader
from .builtin import NAMES, Builtin, load
from .draws import Draws
from .images.augment import Augment
from .images.mixing import CutMix, MixUp
from .images.read import Images, read_image_files, read_images
from .images.stored import ImageFiles
from .loader import DataLoader
from .sequences import pad, streams, windows
from .split import split, train_test_split
from .tables.columns import Column, Table
from .tables.encoder import TableEncoder
from .tables.read import read_table
from .text import Bytes, Characters, read_text

__all__ = [
    "NAMES",
    "Augment",
    "BucketLoader",
    "Builtin",
    "Bytes",
    "Characters",
    "Column",
    "CutMix",
    "DataLoader",
    "Draws",
    "ImageFiles",
    "Images",
    "MixUp",
    "Table",
    "TableEncoder",
    "load",
    "pad",
    "read_image_files",
    "read_images",
    "read_table",
    "read_text",
    "split",
    "streams",
    "train_test_split",
    "windows",
]

hide_modules(__name__)
