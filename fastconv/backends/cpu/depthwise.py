"""Depthwise layers: each channel has one filter. Channels are in the lanes, of pixels as of weights.

A task is a vector of channels of one image, and a block of rows. It turns the pixels of its strip so that a pixel's
channels lie together, borders of zeros included; then strides and phases are nothing but steps, and no lane is wasted
on the narrow images that such layers have.

Index letters: `c` channel, `k` filter tap, `q` pixel.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from fastconv.backends.cpu.channel_tiles import channels_sums, channels_tile
from fastconv.backends.cpu.machine import LINE
from fastconv.backends.cpu.moves import add_vectors, clear_numbers, copy_lanes, flag_unless_finite, will_store
from fastconv.backends.cpu.native import body, word
from fastconv.backends.cpu.turns import NEXT, turn_block, turning

# A plan's words: channels; along each axis pixels read and written, phases, the step, the least shift, and the pixels
# of a strip; rows of the grid, blocks of them; the table of phases; places in the workspace; a strip's zeros before a
# row's first pixel, and the table of its pixels' places; and lines of output that are turned together.
CHANNELS, SOURCE, TARGET, PHASES, STEP, LEAST, SPAN, GRID, BLOCKS = 0, 1, 4, 7, 10, 13, 16, 19, 22
TABLE, TAPS, CHECKED, SHARED, PER_THREAD, STRIP, SCRATCH, CHUNKS, ALL_BLOCKS, CHUNK_SUMS = range(23, 33)
LEFT, PIXEL_TABLE, TOGETHER = range(33, 36)
PLACES = 36
X, WEIGHT, BIAS, Y, WORKSPACE, FLAG = range(6)
NEAR = 1024  # bytes from a channel to the next, up to which lines to be stored are fetched early: they share pages
GRAD = 1  # in the place of the weights where their gradient is wanted


@cache
def in_and_out(item: int, lanes: int) -> Any:
    """`turn_in`, which fills a strip with pixels of vectors of channels, and `turn_out`, which stores rows."""
    width, (_, turn_all_apart) = lanes * item, turning(item, lanes)

    @njit
    def turn_plane(plan, source, valid, lines, place):  # type: ignore[no-untyped-def]
        """Whole lines of a plane to their places in a strip, and the zeros beside them.

        Lines are neighbours in memory: they are turned as one run, of which squares have more than of short lines.
        """
        wide, across, left = word(plan, SOURCE + 2), word(plan, SPAN + 2), word(plan, LEFT)
        right = across - left - wide
        pitch = word(plan, SOURCE) * word(plan, SOURCE + 1) * wide * item
        for j in range(lines):
            if left > 0:
                clear_numbers(item, lanes, left * lanes, place + j * across * width)
            if right > 0:
                clear_numbers(item, lanes, right * lanes, place + (j * across + left + wide) * width)
        turn_all_apart(source, pitch, valid, lines * wide, place + left * width, word(plan, PIXEL_TABLE), NEXT)

    @njit
    def turn_in(plan, x, valid, depth, row, strip):  # type: ignore[no-untyped-def]
        """The strip of the grid's pixels from (depth, row) on."""
        planes, height, wide = word(plan, SOURCE), word(plan, SOURCE + 1), word(plan, SOURCE + 2)
        high, line = word(plan, SPAN + 1), word(plan, SPAN + 2) * width
        top = row * word(plan, STEP + 1) + word(plan, LEAST + 1)
        begin = min(max(top, 0), height)
        end = max(begin, min(top + high, height))
        for i in range(word(plan, SPAN)):
            plane, place = depth * word(plan, STEP) + word(plan, LEAST) + i, strip + i * high * line
            there = end - begin if 0 <= plane < planes else 0
            before = min(begin - top, high) if there else high
            clear_numbers(item, lanes, before * line // item, place)
            if there:
                source = x + (plane * height + begin) * wide * item
                turn_plane(plan, source, valid, there, place + before * line)
                clear_numbers(item, lanes, (top + high - end) * line // item, place + (end - top) * line)

    @njit
    def turn_out(source, count, valid, y, pitch):  # type: ignore[no-untyped-def]
        """Neighbouring pixels, vectors of channels, to their channels, `pitch` apart."""
        for q in range(0, count, lanes):
            some = min(lanes, count - q)
            turn_block(item, lanes, source + q * width, width, some, valid, y + q * item, pitch, some)

    return turn_in, turn_out


@cache
def sums_body(item: int, lanes: int, columns: int, step: int) -> Any:
    """The forward pass or the input gradient, `columns` pixels of a row at a time."""
    (turn_in, turn_out), (turn_all, _) = in_and_out(item, lanes), turning(item, lanes)
    width = lanes * item

    @njit
    def pack(plan, arrays, channel, valid, target):  # type: ignore[no-untyped-def]
        """The bias, then each tap's weights, as vectors of channels."""
        taps = word(plan, TAPS)
        copy_lanes(item, lanes, word(arrays, BIAS) + channel * item, valid, target)
        turn_all(word(arrays, WEIGHT) + channel * taps * item, taps * item, valid, taps, target + width, width)
        if word(plan, CHECKED):
            flag_unless_finite(item, lanes, 0, target, (taps + 1) * lanes, word(arrays, FLAG))

    @njit
    def row_of(plan, phase, weights, line, scratch):  # type: ignore[no-untyped-def]
        """One output row: its phases across, from the strip's row at `line`."""
        across, wide = word(plan, PHASES + 2), word(plan, GRID + 2)
        for c in range(across):
            table = word(plan, TABLE) + 16 * (phase + c)
            taps, places = word(table, 0), word(table, 1)
            for left in range(0, wide, columns):
                j = min(left, wide - columns)
                x, out = line + j * step * width, scratch + (j * across + c) * width
                channels_tile(item, lanes, columns, step, x, places, taps, weights, out, across * width)

    @njit
    def plane_of(plan, weights, strip, scratch, row, row_end, phase, valid, y):  # type: ignore[no-untyped-def]
        """The output rows of a plane that the grid's rows make, to the channels that begin at `y`."""
        planes, height, wide = word(plan, TARGET), word(plan, TARGET + 1), word(plan, TARGET + 2)
        down, line = word(plan, PHASES + 1), word(plan, STEP + 1) * word(plan, SPAN + 2) * width
        begin, end, waiting = row * down, min(row_end * down, height), 0
        pitch = planes * height * wide * item
        for j in range(begin, end):
            i, b = j // down, j % down
            place, lines = scratch + waiting * wide * width, min(word(plan, TOGETHER), end - j)
            if waiting == 0 and pitch <= NEAR:
                for near in range(0, lines * wide * item, LINE):
                    will_store(item, lanes, y + j * wide * item + near, pitch, valid)
            row_of(plan, phase + b * word(plan, PHASES + 2), weights, strip + (i - row) * line, place)
            waiting += 1
            if waiting == word(plan, TOGETHER) or j + 1 == end:
                target = y + (j + 1 - waiting) * wide * item
                turn_out(scratch, waiting * wide, valid, target, pitch)
                waiting = 0

    @body
    def sums(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Tasks in the order (image, vector of channels, depth, block of rows)."""
        channels, blocks, deep = word(plan, CHANNELS), word(plan, BLOCKS), word(plan, PHASES)
        planes, height, wide = word(plan, TARGET), word(plan, TARGET + 1), word(plan, TARGET + 2)
        weights = word(arrays, WORKSPACE) + word(plan, SHARED) + thread * word(plan, PER_THREAD)
        strip, scratch = weights + word(plan, STRIP), weights + word(plan, SCRATCH)
        vectors = (channels + lanes - 1) // lanes
        pixels = word(plan, SOURCE) * word(plan, SOURCE + 1) * word(plan, SOURCE + 2) * item
        for task in range(first, end):
            block, rest = task % blocks, task // blocks
            depth, rest = rest % word(plan, GRID), rest // word(plan, GRID)
            channel, image = rest % vectors * lanes, rest // vectors
            valid = min(lanes, channels - channel)
            row, row_end = block * word(plan, GRID + 1) // blocks, (block + 1) * word(plan, GRID + 1) // blocks
            pack(plan, arrays, channel, valid, weights)
            turn_in(plan, word(arrays, X) + (image * channels + channel) * pixels, valid, depth, row, strip)
            y = word(arrays, Y) + (image * channels + channel) * planes * height * wide * item
            for a in range(min(deep, planes - depth * deep)):
                plane, phase = depth * deep + a, a * word(plan, PHASES + 1) * word(plan, PHASES + 2)
                target = y + plane * height * wide * item
                plane_of(plan, weights, strip, scratch, row, row_end, phase, valid, target)

    return sums


@cache
def gradient_body(item: int, lanes: int, taps: int, step: int) -> Any:
    """The gradient of the weights, `taps` of them at a time."""
    (turn_in, _), (turn_all, _) = in_and_out(item, lanes), turning(item, lanes)
    width = lanes * item

    @body
    def sums(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Tasks in the order (chunk of the blocks of rows of all images, vector of channels)."""
        channels, blocks, depths, each = word(plan, CHANNELS), word(plan, BLOCKS), word(plan, GRID), word(plan, TAPS)
        strip = word(arrays, WORKSPACE) + word(plan, SHARED) + thread * word(plan, PER_THREAD)
        grads, vectors = strip + word(plan, SCRATCH), (channels + lanes - 1) // lanes
        high, wide = word(plan, GRID + 1), word(plan, GRID + 2)
        pitch = word(plan, STEP + 1) * word(plan, SPAN + 2) * width
        pixels, outputs = word(plan, SOURCE) * word(plan, SOURCE + 1) * word(plan, SOURCE + 2), depths * high * wide
        padded = (each + taps - 1) // taps * taps
        for task in range(first, end):
            channel, chunk = task % vectors * lanes, task // vectors
            valid = min(lanes, channels - channel)
            target = word(arrays, WORKSPACE) + chunk * word(plan, CHUNK_SUMS) + task % vectors * padded * width
            clear_numbers(item, lanes, padded * lanes, target)
            total, chunks = word(plan, ALL_BLOCKS), word(plan, CHUNKS)
            for index in range(chunk * total // chunks, (chunk + 1) * total // chunks):
                block, depth, image = index % blocks, index // blocks % depths, index // blocks // depths
                row, row_end = block * high // blocks, (block + 1) * high // blocks
                own = image * channels + channel
                turn_in(plan, word(arrays, X) + own * pixels * item, valid, depth, row, strip)
                grad = word(arrays, GRAD) + (own * outputs + (depth * high + row) * wide) * item
                turn_all(grad, outputs * item, valid, (row_end - row) * wide, grads, width)
                for k in range(0, each, taps):
                    table, place, some = word(plan, TABLE) + 8 * k, target + k * width, min(taps, each - k)
                    line, rows = wide * width, row_end - row
                    channels_sums(item, lanes, taps, step, strip, table, pitch, grads, line, rows, wide, some, place)

    return sums


@cache
def gradient_end(item: int, lanes: int, taps: int) -> Any:
    """grad_weight[c, k] = the sum over chunks of their sums[k, c]."""
    width = lanes * item

    @body
    def end_of_sums(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """A task is a vector of channels."""
        channels, each = word(plan, CHANNELS), word(plan, TAPS)
        padded = (each + taps - 1) // taps * taps
        for task in range(first, end):
            sums = word(arrays, WORKSPACE) + task * padded * width
            for chunk in range(1, word(plan, CHUNKS)):
                add_vectors(item, lanes, sums + chunk * word(plan, CHUNK_SUMS), each, sums)
            valid, y = min(lanes, channels - task * lanes), word(arrays, Y) + task * lanes * each * item
            for k in range(0, each, lanes):
                some = min(lanes, each - k)
                turn_block(item, lanes, sums + k * width, width, some, valid, y + k * item, each * item, some)

    return end_of_sums
