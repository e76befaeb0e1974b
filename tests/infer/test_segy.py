"""The file format: number formats, byte orders, headers, lies, and files that are not what they should be."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
import segyio
import segyio._segyio  # segyio.tools.native forgets to

from infer._numbers import FORMATS, Reading, judge
from infer._segy import factors, read_layout, spread, text_header
from infer.errors import SurveyError, SurveyNotFoundError
from infer.survey import open_survey

from ..conftest import encode, grid, ibm, reflections

SIGNED = [1, 2, 3, 5, 6, 7, 8, 9]
UNSIGNED = [10, 11, 12, 15, 16]
PLACES = grid([5, 6, 7], [20, 21, 22, 23])


def refusal(path: Path, **options: int) -> str:
    with pytest.raises(SurveyError) as caught:
        open_survey(path, **options)
    return str(caught.value)


# Number formats


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("code", SIGNED)
def test_every_signed_format_in_both_byte_orders(build_segy, code, order):
    samples = reflections(12, 200)
    survey = open_survey(build_segy(PLACES, samples, code=code, order=order))
    assert survey.warnings == ()
    assert survey.read_inline(6).amplitude.dtype == np.float32
    np.testing.assert_array_equal(survey.read_inline(6).amplitude, samples[4:8])
    assert survey.line_bytes("inline", 6).byte_order == order


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("code", UNSIGNED)
def test_every_unsigned_format_is_used_as_it_is(build_segy, code, order):
    samples = reflections(12, 200) + 128
    survey = open_survey(build_segy(PLACES, samples, code=code, order=order))
    assert survey.warnings == ()
    np.testing.assert_array_equal(survey.read_crossline(21).amplitude, samples[1::4])


def test_ibm_floats_are_what_segyio_makes_of_them():
    rng = np.random.default_rng(1)
    word = rng.integers(0, 2**32, 5000, dtype=np.uint32)
    word = word[(word & 0x00F00000 != 0) & (np.abs((word >> 24 & 0x7F).astype(int) - 64) < 25)]
    ours = FORMATS[1].decode(word.astype(">u4").view(np.uint8).reshape(1, -1), ">")[0]
    theirs = segyio.tools.native(word.astype(">u4").view(np.float32), 1)
    np.testing.assert_allclose(ours, theirs, rtol=2e-7)


def test_ibm_floats_beyond_float32_become_infinite_and_unnormalised_ones_are_read():
    raw = struct.pack(">4I", 0x7FFFFFFF, 0xFFFFFFFF, 0x46000001, ibm(-118.625))
    assert FORMATS[1].decode(np.frombuffer(raw, np.uint8).reshape(1, -1), ">").tolist() == [
        [np.inf, -np.inf, 1.0, -118.625]
    ]


@pytest.mark.parametrize(("code", "low", "high"), [(7, -(2**23), 2**23 - 1), (15, 0, 2**24 - 1), (8, -128, 127)])
def test_integers_reach_their_ends(code, low, high):
    raw = np.frombuffer(b"".join(encode(v, code, "<") for v in (low, high, 1)), np.uint8).reshape(1, -1)
    assert FORMATS[code].decode(raw, "<").tolist() == [[low, high, 1]]


def test_a_file_that_segyio_wrote(tmp_path):
    path = tmp_path / "theirs.sgy"
    samples = reflections(12, 50).astype(np.float32)
    spec = segyio.spec()
    spec.ilines, spec.xlines, spec.samples = [5, 6, 7], [20, 21, 22, 23], np.arange(50) * 4.0
    spec.sorting, spec.format = 2, 1
    with segyio.create(path, spec) as file:
        for n, (inline, crossline) in enumerate(PLACES):
            file.header[n] = {189: inline, 193: crossline}
            file.trace[n] = samples[n]
        file.bin.update(hdt=2000)
    survey = open_survey(path)
    np.testing.assert_array_equal(survey.read_inline(7).amplitude, samples[8:])
    assert (survey.sample_interval_ms, survey.number_format) == (2.0, "32-bit IBM float, big-endian")


def test_segyio_reads_what_the_builder_writes(build_segy):
    samples = reflections(12, 50)
    with segyio.open(build_segy(PLACES, samples, code=1)) as file:
        np.testing.assert_array_equal(file.trace.raw[:], samples)
        assert (file.ilines.tolist(), file.xlines.tolist()) == ([5, 6, 7], [20, 21, 22, 23])


# Headers that lie

LIES = [
    (1, 5, "32-bit IBM float", "32-bit IEEE float"),
    (5, 1, "32-bit IEEE float", "32-bit IBM float"),
    (1, 2, "32-bit IBM float", "32-bit signed integer"),
    (5, 2, "32-bit IEEE float", "32-bit signed integer"),
    (2, 5, "32-bit signed integer", "32-bit IEEE float"),
    (2, 1, "32-bit signed integer", "32-bit IBM float"),
    (10, 2, "32-bit unsigned integer", "32-bit signed integer"),
    (11, 3, "16-bit unsigned integer", "16-bit signed integer"),
    (16, 8, "8-bit unsigned integer", "8-bit signed integer"),
    (1, 3, "32-bit IBM float", "16-bit signed integer"),
    (1, 8, "32-bit IBM float", "8-bit signed integer"),
    (3, 5, "16-bit signed integer", "32-bit IEEE float"),
    (3, 1, "16-bit signed integer", "32-bit IBM float"),
    (0, 5, "nothing that is a number format (0)", "32-bit IEEE float"),
]


def rich_reflections(code: int) -> np.ndarray:
    """Reflections whose amplitudes use the format, `[12 traces, 300 samples]`."""
    rough = np.random.default_rng(9).uniform(-0.5, 0.5, (12, 300))
    if code == 8:
        return reflections(12, 300)
    return (reflections(12, 300) + rough) * 37 if code in (1, 5) else np.round((reflections(12, 300) + rough) * 250)


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize(("says", "is_", "said", "real"), LIES)
def test_a_lying_format_code_is_seen_through(build_segy, says, is_, said, real, order):
    samples = rich_reflections(is_)
    path = build_segy(PLACES, samples, code=says, written_as=is_, order=order, traces_say={115: ("H", [300] * 12)})
    survey = open_survey(path)
    assert survey.warnings == (f"The header says {said}, but the samples are {real} and are read so.",)
    np.testing.assert_allclose(survey.read_inline(5).amplitude, samples[:4], rtol=1e-6)


@pytest.mark.parametrize("code", [1, 2, 3, 5])
def test_samples_in_the_other_byte_order_are_seen_through(build_segy, code):
    samples = rich_reflections(code)
    survey = open_survey(build_segy(PLACES, samples, code=code, order=">", sample_order="<"))
    name = FORMATS[code].name
    assert survey.warnings == (
        f"The header says {name}, but the samples are {name} in little-endian order and are read so.",
    )
    np.testing.assert_allclose(survey.read_inline(5).amplitude, samples[:4], rtol=1e-6)


def _honest_samples() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    smooth = reflections(64, 400)
    return {
        "reflections": smooth,
        "tiny": smooth * 1e-9,
        "huge": smooth * 1e9,
        "white noise": rng.standard_normal((64, 400)) * 1000,
        "velocities": 1500 + np.cumsum(rng.random((64, 400)) * 15, axis=1),
        "densities": 2.3 + 0.2 * rng.random((64, 400)),
        "silence": np.zeros((64, 400)),
        "one spike": np.eye(64, 400),
        "mostly silent": np.where(rng.random((64, 400)) < 0.99, 0, smooth),
        "constant": np.full((64, 400), 1.5),
        "decaying": smooth * np.exp(-np.arange(400) / 8),
        "a quarter NaN": np.where(rng.random((64, 400)) < 0.25, np.nan, smooth),
        "powers of two": 2.0 ** rng.integers(-4, 5, (64, 400)),
        "few levels": np.round(smooth / 10),
        "a ramp": np.tile(np.arange(400) / 7, (64, 1)),
    }


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("name", list(_honest_samples()))
@pytest.mark.parametrize("code", [1, 5, 6])
def test_an_honest_float_header_is_believed(name, code, order):
    samples = _honest_samples()[name]
    if code == 1:
        samples = np.nan_to_num(samples)
    if code == 1:
        raw = np.array([ibm(v) for v in samples.ravel().tolist()], np.uint32).astype(order + "u4")
    else:
        raw = samples.ravel().astype(order + ("f4" if code == 5 else "f8"))
    header = Reading(FORMATS[code], order)
    assert judge(raw.view(np.uint8).reshape(64, -1), header) == header


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("scale", [0.02, 1, 100, 256, 327])
@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("code", [2, 3, 8])
def test_an_honest_integer_header_is_believed(code, scale, noise, order):
    kind = FORMATS[code]
    shape = (64, 400)
    samples = np.random.default_rng(4).uniform(-100, 100, shape) if noise else reflections(*shape)
    limit = 2 ** (8 * kind.width - 1) - 1
    gain = {2: scale * 65536, 3: scale, 8: min(scale, 2.5)}[code]
    values = np.clip(samples * gain, -limit, limit)
    raw = np.round(values).astype(f"{order}i{kind.width}").view(np.uint8)
    header = Reading(kind, order)
    assert judge(raw, header) == header


# Headers


def test_text_headers_in_ebcdic_and_in_ascii(build_segy):
    words = "C 1 CLIENT: NOBODY".ljust(80) + "C 2 LINE".ljust(3120)
    for encoding, name in (("cp037", "EBCDIC"), ("ascii", "ASCII")):
        path = build_segy(PLACES, reflections(12, 8), text=words.encode(encoding))
        text, said = text_header(path)
        assert (text.rstrip(), said) == ("C 1 CLIENT: NOBODY\nC 2 LINE", name)
        assert open_survey(path).n_traces == 12


@pytest.mark.parametrize("text", [b"\0" * 3200, b"\xc3@\xf1\0\0" * 640], ids=["no text", "embedded nulls"])
def test_a_text_header_may_be_blank_or_hold_nulls(build_segy, text):
    assert open_survey(build_segy(PLACES, reflections(12, 8), text=text)).n_traces == 12


@pytest.mark.parametrize("n_says", [2, -1])
def test_extended_text_headers_are_skipped_and_kept(build_segy, n_says):
    stanzas = [b"((SEG: Layout))".ljust(3200), b"((SEG: EndText))".ljust(3200)]
    samples = reflections(12, 8)
    path = build_segy(PLACES, samples, extended=stanzas, says={3501: ("B", 1), 3505: ("h", n_says)})
    survey = open_survey(path)
    np.testing.assert_array_equal(survey.read_inline(7).amplitude, samples[8:])
    assert survey.line_bytes("inline", 7).preamble == path.read_bytes()[:10000]


def test_rev_2_trace_header_extensions_belong_to_the_headers(build_segy):
    samples = reflections(12, 9)
    path = build_segy(PLACES, samples, extension=b"\x07" * 480, says={3501: ("B", 2), 3507: ("i", 2)})
    survey = open_survey(path)
    np.testing.assert_array_equal(survey.read_crossline(23).amplitude, samples[3::4])
    headers = survey.line_bytes("crossline", 23).headers
    assert headers.shape == (3, 720)
    assert (headers[:, 240:] == 7).all()


def test_rev_2_1_first_trace_offset_trace_count_and_trailer(build_segy):
    samples = reflections(12, 9)
    revision = {3501: ("B", 2), 3502: ("B", 1)}
    trailer = "((SEG: Trailer))".ljust(3200).encode("cp037")
    for says in ({3513: ("Q", 12), 3529: ("i", 1)}, {3529: ("i", 1)}, {3529: ("i", -1)}):
        path = build_segy(
            PLACES, samples, between=b"x" * 100, after=trailer, says={**revision, 3521: ("Q", 3700), **says}
        )
        survey = open_survey(path)
        assert survey.n_traces == 12
        np.testing.assert_array_equal(survey.read_inline(6).amplitude, samples[4:8])


def test_rev_2_sample_count_and_interval_override(build_segy):
    samples = reflections(1, 70000)
    says = {3501: ("B", 2), 3269: ("i", 70000), 3273: ("d", 3333.25), 3297: ("I", 0x01020304)}
    survey = open_survey(build_segy([(1, 1)], samples, says=says))
    assert (survey.n_samples, survey.sample_interval_ms) == (70000, 3.33325)
    np.testing.assert_array_equal(survey.read_inline(1).amplitude, samples)


def test_long_traces(build_segy):
    samples = np.tile(reflections(4, 600), (1, 100))
    survey = open_survey(build_segy(grid([1, 2], [8, 9]), samples))
    assert (survey.n_samples, survey.n_traces) == (60000, 4)
    np.testing.assert_array_equal(survey.read_crossline(9).amplitude, samples[1::2])


def test_a_sample_count_that_the_traces_correct(build_segy):
    samples = reflections(12, 50)
    path = build_segy(PLACES, samples, says={3221: ("H", 77)}, traces_say={115: ("H", [50] * 12)})
    survey = open_survey(path)
    assert survey.warnings == ("The binary header says 77 samples per trace, but the traces have 50.",)
    np.testing.assert_array_equal(survey.read_inline(5).amplitude, samples[:4])


def test_zero_padding_at_the_end_is_no_trace(build_segy):
    survey = open_survey(build_segy(PLACES, reflections(12, 50), after=bytes(300)))
    assert survey.n_traces == 12
    assert survey.warnings == ("The file ends with 300 zero bytes after its last trace, which are left out.",)


def test_header_scalars():
    scalar = np.array([0, 1, -1, 100, -10, 32767, -32768], np.int16)
    assert factors(scalar).tolist() == [1, 1, 1, 100, 0.1, 32767, 1 / 32768]


def test_traces_spread_over_a_file():
    assert spread(10, 4).tolist() == [0, 3, 6, 9]
    assert spread(3, 50).tolist() == [0, 1, 2]
    assert spread(1, 16).tolist() == [0]


# Files that are not what they should be


def test_no_such_file(tmp_path):
    path = tmp_path / "none.sgy"
    with pytest.raises(SurveyNotFoundError) as caught:
        open_survey(path)
    assert str(caught.value) == f"There is no file {path}."
    assert isinstance(caught.value, FileNotFoundError)


def test_a_folder(tmp_path):
    assert refusal(tmp_path) == f"{tmp_path} is a folder, not a SEG-Y file."


def test_an_unreadable_file(build_segy, monkeypatch):
    path = build_segy(PLACES, reflections(12, 8))

    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    assert refusal(path) == f"{path} cannot be read: Permission denied."


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty: it has 0 bytes."),
        (b"a few words", "is not a SEG-Y file: it has 11 bytes, and the headers alone take 3,600."),
        (b"339 300 716 0\n" * 900, "is not a SEG-Y file: its bytes 3225-3226 hold 13104, which is no number format."),
        (
            b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40,
            "is not a SEG-Y file: its bytes 3225-3226 hold -28527, which is no number format.",
        ),
    ],
    ids=["empty", "short", "text", "png"],
)
def test_files_that_are_not_segy(tmp_path, content, sentence):
    path = tmp_path / "cube.sgy"
    path.write_bytes(content)
    assert refusal(path) == f"{path} {sentence}"


def test_random_bytes_are_never_a_survey(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "noise.sgy"
    for n in range(40):
        noise = bytearray(rng.bytes(20000 + n))
        if n >= 20:  # with a format code, as one file in two thousand has by chance
            noise[3224:3226] = struct.pack(">h", 1 + 4 * (n % 2))
        path.write_bytes(noise)
        assert "not a SEG-Y file" in refusal(path)


def test_headers_without_traces(build_segy):
    path = build_segy([], np.zeros((0, 8)))
    assert refusal(path) == f"{path} has no traces: it ends after its file headers."


def test_fixed_point_with_gain(build_segy):
    path = build_segy(PLACES, reflections(12, 8), code=4, written_as=2)
    assert refusal(path) == (
        f"{path} holds 32-bit fixed-point numbers with gain (SEG-Y format 4), which nobody has written for decades: "
        "convert it to IEEE floats first."
    )


def test_truncated_in_the_middle_of_a_trace(build_segy):
    path = build_segy(PLACES, reflections(12, 50))
    path.write_bytes(path.read_bytes()[:-300])
    assert refusal(path) == (
        f"{path} is cut short: it ends in the middle of trace 12 (50 samples each, by its headers). "
        "Copy it again from its source."
    )


@pytest.mark.parametrize(("cut", "where"), [(440, "after trace 11 of 12"), (300, "in the middle of trace 12 of 12")])
def test_truncated_where_rev_2_promises_a_number_of_traces(build_segy, cut, where):
    path = build_segy(PLACES, reflections(12, 50), says={3501: ("B", 2), 3513: ("Q", 12)})
    path.write_bytes(path.read_bytes()[:-cut])
    assert refusal(path) == (
        f"{path} is cut short: it ends {where} (50 samples each, by its headers). Copy it again from its source."
    )


def test_traces_of_different_lengths(build_segy, tmp_path):
    short = build_segy(PLACES[:5], reflections(5, 40), traces_say={115: ("H", [40] * 5)})
    long = build_segy(PLACES[5:], reflections(7, 51), traces_say={115: ("H", [51] * 7)}, name="long.sgy")
    path = tmp_path / "both.sgy"
    path.write_bytes(short.read_bytes() + long.read_bytes()[3600:])
    assert refusal(path) == (
        f"{path} has traces of different lengths, from 40 to 51 samples: rewrite it with traces of one length."
    )


def test_no_sample_count(build_segy):
    path = build_segy(PLACES, reflections(12, 8), says={3221: ("H", 0)})
    assert refusal(path) == f"{path} does not say how many samples its traces have (bytes 3221-3222 are 0)."


def test_a_file_that_shrinks_under_us(build_segy):
    path = build_segy(PLACES, reflections(12, 50))
    survey = open_survey(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(SurveyError) as caught:
        survey.read_inline(7)
    assert str(caught.value) == f"{path} has become shorter while it was being read."


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "number_format"),
    [
        ("odd/formats/Format1msb.sgy", "32-bit IBM float, big-endian"),
        ("odd/formats/Format1lsb.sgy", "32-bit IBM float, little-endian"),
        ("odd/formats/Format2msb.sgy", "32-bit signed integer, big-endian"),
        ("odd/formats/Format3lsb.sgy", "16-bit signed integer, little-endian"),
        ("odd/formats/Format3msb.sgy", "16-bit signed integer, big-endian"),
        ("odd/formats/Format5lsb.sgy", "32-bit IEEE float, little-endian"),
        ("odd/formats/Format5msb.sgy", "32-bit IEEE float, big-endian"),
        ("odd/formats/Format6msb.sgy", "64-bit IEEE float, big-endian"),
        ("odd/formats/Format10msb.sgy", "32-bit signed integer, big-endian"),  # signed numbers under an unsigned code
    ],
)
def test_one_survey_in_many_formats(shared, name, number_format):
    reference = open_survey(shared / "segy/real/f3_corner_int16.sgy").read_inline(120).amplitude
    survey = open_survey(shared / "segy" / name)
    assert survey.number_format == number_format
    np.testing.assert_array_equal(survey.read_inline(120).amplitude, reference)


@pytest.mark.shared
def test_no_false_alarm_on_any_shared_file(shared):
    def lies(path: Path) -> bool:
        with contextlib.suppress(SurveyError):
            return any("The header says" in warning for warning in read_layout(path).warnings)
        return False

    paths = sorted([*shared.glob("segy/**/*.sgy"), shared / "f3/f3_lines.sgy"])
    assert [path.name for path in paths if lies(path)] == ["Format10msb.sgy"]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "preamble", "header"),
    [("multi-text", 16400, 240), ("stanzas-known-count", 13200, 240), ("trace-header-extension1", 3600, 480)],
)
def test_shared_headers_of_uncommon_sizes(shared, name, preamble, header):
    survey = open_survey(shared / f"segy/odd/{name}.sgy")
    line = survey.line_bytes("inline", survey.inlines.first)
    assert (len(line.preamble), line.headers.shape[1]) == (preamble, header)
