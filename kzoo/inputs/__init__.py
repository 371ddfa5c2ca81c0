"""Inputs: what carries out from a raw example to what a network reads, a file a kind; augmentation and batches."""

from kzoo.inputs.augment import AUGMENTATIONS
from kzoo.inputs.batches import LABELS, Batches, Drawn, as_it_is, known_length, mix, ported
from kzoo.inputs.image import image_paths
from kzoo.inputs.image_files import (
    BY_PILLOW,
    IMAGE_SUFFIXES,
    IN_GRAPH,
    LARGE_PIXELS,
    MAX_PIXELS,
    PLAIN,
    Seen,
    Unreadable,
    decode_image,
    decode_plain,
    is_hidden,
    look_at,
    no_size_warnings,
    open_image,
    reading,
)
from kzoo.inputs.later import AT_ONCE, mapped, read_later
from kzoo.inputs.left_out import leave_out_all, notes_what_is_left_out
from kzoo.inputs.letters import is_blank
from kzoo.inputs.own_augment import saved, told
from kzoo.inputs.pixels import NUMBERS, numbers_of, range_of
from kzoo.inputs.reader import Inputs, Reader, Served, are_paths, own_reader, reader_of
from kzoo.inputs.sequences import Sequences
from kzoo.inputs.series import with_history
from kzoo.inputs.table_files import (
    SEPARATOR_LINE,
    Columns,
    decoded,
    first_row,
    is_table,
    lines_of,
    rows_of,
    unpacked,
)
from kzoo.inputs.text import COMPOSE, has_lines, is_utf8, random_texts, texts_of, unit_of, words_for
