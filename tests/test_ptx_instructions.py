"""The interpreter against PTX written by hand, for what Numba rarely emits."""

import math
from fractions import Fraction

import numpy as np
import pytest
from ptx_kernels import evaluate, same_bits, written
from ptx_machine import DivergentBarrierError, EndlessError, TrapError, UnwrittenRegisterError, run
from ptx_memory import (
    MisalignedError,
    SharedRaceError,
    UninitialisedSharedError,
)
from ptx_program import Program
from ptx_values import PtxError, UnknownInstructionError
from ptx_warp import InactiveLaneError

A32 = np.array([0, 1, 0x80000000, 0xFFFFFFFF, 0x12345678, 0x00F0A5C3], "u4")
B32 = np.array([3, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000001, 0x9ABCDEF0, 5], "u4")


def each(function, *arrays):
    return np.array([function(*map(int, values)) & 0xFFFFFFFF for values in zip(*arrays, strict=True)], "u4")


def to_signed(value, bits=32):
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


@pytest.mark.parametrize(
    ("code", "function"),
    [
        ("bfi.b32 d, a, b, 4, 8;", lambda a, b: b & ~0xFF0 | (a & 0xFF) << 4),
        ("bfi.b32 d, a, b, 28, 8;", lambda a, b: b & 0x0FFFFFFF | (a & 0xF) << 28),
        ("bfi.b32 d, a, b, 0, 32;", lambda a, b: a),
        ("bfi.b32 d, a, b, 3, 0;", lambda a, b: b),
        ("bfe.u32 d, a, 4, 8;", lambda a, b: a >> 4 & 0xFF),
        ("bfe.s32 d, a, 4, 8;", lambda a, b: to_signed(a >> 4 & 0xFF, 8)),
        ("bfe.s32 d, a, 28, 8;", lambda a, b: to_signed(a >> 28, 4)),
        ("prmt.b32 d, a, b, 0x5410;", lambda a, b: a & 0xFFFF | (b & 0xFFFF) << 16),
        ("prmt.b32 d, a, b, 0x0123;", lambda a, b: int.from_bytes(a.to_bytes(4, "little"), "big")),
        ("prmt.b32 d, a, b, 0x8888;", lambda a, b: 0xFFFFFFFF if a & 0x80 else 0),
        ("prmt.b32.rc16 d, a, b, 1;", lambda a, b: (a >> 16) * 0x10001),
        ("lop3.b32 d, a, b, 0xFF, 0xE8;", lambda a, b: a & b | a & 0xFF | b & 0xFF),
        ("shf.l.wrap.b32 d, a, b, 35;", lambda a, b: (b << 32 | a) << 3 >> 32),
        ("shf.r.clamp.b32 d, a, b, 40;", lambda a, b: b),
        ("shl.b32 d, a, 33;", lambda a, b: 0),
        ("shr.s32 d, a, 40;", lambda a, b: -1 if a >> 31 else 0),
        ("shr.u32 d, a, b;", lambda a, b: a >> b if b < 32 else 0),
        ("mul.hi.u32 d, a, b;", lambda a, b: a * b >> 32),
        ("mul.hi.s32 d, a, b;", lambda a, b: to_signed(a) * to_signed(b) >> 32),
        ("mad.lo.s32 d, a, b, a;", lambda a, b: a * b + a),
        ("mad.hi.u32 d, a, b, a;", lambda a, b: (a * b >> 32) + a),
        ("add.sat.s32 d, a, b;", lambda a, b: max(-(2**31), min(2**31 - 1, to_signed(a) + to_signed(b)))),
        ("sad.u32 d, a, b, 1;", lambda a, b: abs(a - b) + 1),
        ("div.s32 d, a, b;", lambda a, b: int(Fraction(to_signed(a), to_signed(b)))),
        ("rem.s32 d, a, b;", lambda a, b: int(math.fmod(to_signed(a), to_signed(b)))),
        ("min.s32 d, a, b;", lambda a, b: min(to_signed(a), to_signed(b))),
        ("max.u32 d, a, b;", max),
        ("popc.b32 d, a;", lambda a, b: a.bit_count()),
        ("clz.b32 d, a;", lambda a, b: 32 - a.bit_length()),
        ("bfind.u32 d, a;", lambda a, b: a.bit_length() - 1),
        ("bfind.s32 d, a;", lambda a, b: (~a & 0xFFFFFFFF if a >> 31 else a).bit_length() - 1),
        ("brev.b32 d, a;", lambda a, b: int(f"{a:032b}"[::-1], 2)),
        ("cnot.b32 d, a;", lambda a, b: int(a == 0)),
        ("slct.u32.s32 d, a, 7, b;", lambda a, b: a if b < 2**31 else 7),
        ("set.lt.u32.s32 d, a, b;", lambda a, b: -(to_signed(a) < to_signed(b))),
        ("add.cc.u32 d, a, b; addc.u32 d, 0, 0;", lambda a, b: a + b >> 32),
        ("sub.cc.u32 d, a, b; subc.u32 d, 9, 0;", lambda a, b: 9 - (a < b)),
        ("mad.lo.cc.u32 d, a, b, 5; madc.hi.u32 d, a, b, 2;", lambda a, b: a * b + (2 << 32) + 5 >> 32),
        ("dp4a.u32.u32 d, a, b, 3;", lambda a, b: 3 + sum(map(int.__mul__, a.to_bytes(4), b.to_bytes(4)))),
        ("dp2a.hi.u32.u32 d, a, b, 3;", lambda a, b: (a & 0xFFFF) * (b >> 16 & 0xFF) + (a >> 16) * (b >> 24) + 3),
        ("setp.lt.u32 p|q, a, b; selp.b32 d, 1, 2, q;", lambda a, b: 1 if a >= b else 2),
        ("setp.ne.u32 q, b, 3; setp.hi.and.u32 p, a, b, !q; selp.b32 d, 1, 2, p;", lambda a, b: 2 - (a > b == 3)),
        ("setp.eq.xor.s32 p, a, a, 1; selp.b32 d, 1, 2, p;", lambda a, b: 2),
        ("cvt.s32.s8 d, a;", lambda a, b: to_signed(a & 0xFF, 8)),
        ("cvt.sat.u8.s32 d, a;", lambda a, b: max(0, min(255, to_signed(a)))),
        ("{ .reg .b16 x, y; mov.b32 {x, y}, a; mov.b32 d, {y, x}; }", lambda a, b: (a & 0xFFFF) << 16 | a >> 16),
        ("setp.eq.u32 p, a, 0; mov.u32 d, 1; @p mov.u32 d, 8; @!p add.u32 d, d, 1;", lambda a, b: 8 if a == 0 else 2),
        ("brev.b32 d, a; not.b32 d, d; xor.b32 d, d, b;", lambda a, b: ~int(f"{a:032b}"[::-1], 2) ^ b),
    ],
)  # fmt: skip
def test_integer_instructions(code, function):
    np.testing.assert_array_equal(evaluate(code, "u4", a=A32, b=B32), each(function, A32, B32))


def test_wide_integer_instructions(rng):
    a, b = rng.integers(0, 2**64 - 1, (2, 20), "u8", endpoint=True)
    for name, pick in [("u64", int), ("s64", lambda v: to_signed(int(v), 64))]:
        high = [(pick(x) * pick(y) >> 64) & (2**64 - 1) for x, y in zip(a, b, strict=True)]
        assert evaluate(f"mul.hi.{name} d, a, b;", "u8", a=a, b=b).tolist() == high
    low = a.astype("u4")
    np.testing.assert_array_equal(evaluate("mul.wide.u32 d, a, a;", "u8", a=low), low.astype("u8") ** 2)
    np.testing.assert_array_equal(
        evaluate("bfi.b64 d, a, b, 32, 32;", "u8", a=a, b=b), a << np.uint64(32) | b & np.uint64(2**32 - 1)
    )


F32 = np.array([0, -0.0, 1.5, -2.5, 3e9, -3e9, np.inf, np.nan, 1e-40, 0.1, 2.5, 255.5, 1.0000001], "f4")
G32 = np.array([-0.0, 0, 3, 1 / 3, 7, 1e-30, 1, 2, 3, 0.3, -np.inf, np.nan, 3], "f4")


def directed(exact, mode):
    """A fraction in a directed rounding to float32."""
    near = np.float32(float(exact))
    up, down = np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))
    mode = {"rz": "rm" if exact > 0 else "rp"}.get(mode, mode)
    candidates = [
        v for v in (down, near, up) if (Fraction(float(v)) <= exact if mode == "rm" else Fraction(float(v)) >= exact)
    ]
    return max(candidates) if mode == "rm" else min(candidates)


@pytest.mark.parametrize("mode", ["rz", "rm", "rp"])
def test_directed_roundings(mode, rng):
    a, b, c = (rng.standard_normal((3, 40)) * 10.0 ** rng.integers(-4, 4, (3, 40))).astype("f4")
    x, y, z = ([Fraction(float(v)) for v in values] for values in (a, b, c))
    for code, exact in [
        ("add", [p + q for p, q in zip(x, y, strict=True)]),
        ("sub", [p - q for p, q in zip(x, y, strict=True)]),
        ("mul", [p * q for p, q in zip(x, y, strict=True)]),
        ("div", [p / q for p, q in zip(x, y, strict=True)]),
        ("fma", [p * q + r for p, q, r in zip(x, y, z, strict=True)]),
    ]:
        d = evaluate(f"{code}.{mode}.f32 d, a, b{', c' if code == 'fma' else ''};", "f4", a=a, b=b, c=c)
        same_bits(d, np.array([directed(e, mode) for e in exact]))


def test_minimum_and_maximum_of_zeros_and_nans():
    d = evaluate("min.f32 d, a, b;", "f4", a=F32, b=G32)
    same_bits(d, np.array([-0.0, -0.0, 1.5, -2.5, 7, -3e9, 1, 2, 1e-40, 0.1, -np.inf, 255.5, 1.0000001], "f4"))
    d = evaluate("max.f32 d, a, b;", "f4", a=F32, b=G32)
    same_bits(d, np.array([0, 0, 3, 1 / 3, 3e9, 1e-30, np.inf, 2, 3, 0.3, 2.5, 255.5, 3], "f4"))
    assert np.isnan(evaluate("max.NaN.f32 d, a, b;", "f4", a=F32, b=G32)[[7, 11]]).all()


def test_flushing_and_saturating():
    same_bits(evaluate("add.ftz.f32 d, a, 0f00000000;", "f4", a=np.float32([1e-40, -1e-40, 1])), np.float32([0, 0, 1]))
    same_bits(evaluate("mul.ftz.f32 d, a, a;", "f4", a=np.float32([1e-20, 1])), np.float32([0, 1]))
    same_bits(evaluate("mul.f32 d, a, a;", "f4", a=np.float32([1e-20, 1])), np.float32([1e-20, 1]) ** 2)
    same_bits(evaluate("add.sat.f32 d, a, a;", "f4", a=np.float32([-1, 0.25, 3, np.nan])), np.float32([0, 0.5, 1, 0]))


@pytest.mark.parametrize(
    ("mode", "function"), [("rni", np.rint), ("rzi", np.trunc), ("rmi", np.floor), ("rpi", np.ceil)]
)
def test_floats_to_integers_saturate(mode, function):
    with np.errstate(invalid="ignore"):
        whole = np.nan_to_num(function(F32.astype("f8")), nan=0)
    for into in ("s32", "u32"):
        limits = np.iinfo(into.replace("s", "int").replace("u", "uint"))
        d = evaluate(f"cvt.{mode}.{into}.f32 d, a;", limits.dtype, a=F32)
        np.testing.assert_array_equal(d, np.clip(whole, limits.min, limits.max).astype(limits.dtype))
    same_bits(evaluate(f"cvt.{mode}.f32.f32 d, a;", "f4", a=F32), function(F32))
    assert evaluate(f"cvt.{mode}.s64.f64 d, a;", "i8", a=np.array([np.nan, 1e30, -1e30])).tolist() == [
        -(2**63),
        2**63 - 1,
        -(2**63),
    ]


def test_conversions_between_floats():
    wide = np.array([1 + 2.0**-24, 1 + 2.0**-24 + 2.0**-40, -1 - 2.0**-30, 1e300, 1e-320])
    with np.errstate(over="ignore"):
        same_bits(evaluate("cvt.rn.f32.f64 d, a;", "f4", a=wide), wide.astype("f4"))
    top, step = np.finfo("f4").max, np.float32(1 + 2.0**-23)
    same_bits(evaluate("cvt.rz.f32.f64 d, a;", "f4", a=wide), np.float32([1, 1, -1, top, 0]))
    same_bits(evaluate("cvt.rp.f32.f64 d, a;", "f4", a=wide), np.float32([step, step, -1, np.inf, 1e-45]))
    same_bits(evaluate("cvt.rn.f16.f32 d, a;", "f2", a=np.float32([0.1, 70000, 1e-7])), np.float16([0.1, np.inf, 1e-7]))
    same_bits(evaluate("cvt.f32.f16 d, a;", "f4", a=np.float16([0.1, 3])), np.float16([0.1, 3]).astype("f4"))
    large = np.array([2**63 - 1, 2**24 + 1, -(2**24) - 1], "i8")
    same_bits(evaluate("cvt.rn.f32.s64 d, a;", "f4", a=large), large.astype("f4"))
    same_bits(evaluate("cvt.rz.f32.s64 d, a;", "f4", a=large), np.float32([2**63 - 2**39, 2**24, -(2**24)]))
    same_bits(evaluate("cvt.sat.f32.f32 d, a;", "f4", a=np.float32([-1, 0.5, np.nan, 9])), np.float32([0, 0.5, 0, 1]))


def test_rounding_to_tf32():
    unit = 2.0**-10
    a = np.float32([1 + unit / 2, 1 + 0.49 * unit, -1 - 1.5 * unit, np.inf, 3])
    bits = evaluate("cvt.rna.tf32.f32 d, a;", "u4", a=a)
    same_bits(bits.view("f4"), np.float32([1 + unit, 1, -1 - 2 * unit, np.inf, 3]))


@pytest.mark.parametrize(
    ("code", "function"),
    [
        ("ex2", np.exp2), ("lg2", np.log2), ("rcp", np.reciprocal), ("sqrt", np.sqrt), ("sin", np.sin), ("cos", np.cos),
        ("rsqrt", lambda x: 1 / np.sqrt(x)), ("tanh", np.tanh),
    ],
)  # fmt: skip
def test_approximate_functions(code, function, rng):
    a = rng.uniform(0.1, 9, 32).astype("f4")
    np.testing.assert_allclose(evaluate(f"{code}.approx.f32 d, a;", "f4", a=a), function(a.astype("f8")), rtol=1e-6)


@pytest.mark.parametrize(("name", "expected"), [
    ("lt", [1, 0, 0]), ("ltu", [1, 0, 1]), ("neu", [1, 0, 1]), ("ne", [1, 0, 0]), ("eq", [0, 1, 0]), ("equ", [0, 1, 1]),
    ("geu", [0, 1, 1]), ("num", [1, 1, 0]), ("nan", [0, 0, 1]),
])  # fmt: skip
def test_ordered_and_unordered_comparisons(name, expected):
    a, b = np.float32([1, 2, np.nan]), np.float32([2, 2, 2])
    assert evaluate(f"setp.{name}.f32 p, a, b; selp.u32 d, 1, 0, p;", "u4", a=a, b=b).tolist() == expected
    assert evaluate(f"set.{name}.f32.f32 d, a, b;", "f4", a=a, b=b).tolist() == expected


def test_vectors_and_generic_addresses(rng):
    x, y = rng.standard_normal((2, 128)).astype("f4")
    shared = ".shared .align 16 .b8 memory[512];"
    lines = [
        "mul.wide.u32 %at, %tid, 16; add.u64 %a0, %a0, %at; add.u64 %a1, %a1, %at;",
        "ld.global.nc.v4.f32 {f0, f1, f2, f3}, [%a0];",
        "mov.u64 s, memory; cvta.shared.u64 s, s; isspacep.shared p, s; @!p trap; add.u64 s, s, %at;",
        "st.v2.f32 [s], {f3, f2}; st.v2.f32 [s+8], {f1, f0}; cvta.to.shared.u64 s, s; cvt.u32.u64 r, s;",
        "ld.shared.v4.f32 {f0, f1, f2, f3}, [r]; st.global.v4.f32 [%a1], {f0, f1, f2, f3};",
    ]
    registers = shared + ".reg .f32 f<4>; .reg .u64 s; .reg .u32 r; .reg .pred p;"
    text = written(*lines, arrays=2, registers=registers)
    run(Program(text), 1, 32, (x, y))
    np.testing.assert_array_equal(y, x.reshape(32, 4)[:, ::-1].reshape(-1))
    with pytest.raises(MisalignedError, match=r"not aligned to (8|16) bytes"):
        run(
            Program(
                text.replace("align 16", "align 4").replace(
                    "ld.shared.v4.f32 {f0, f1, f2, f3}, [r]", "ld.shared.v4.f32 {f0, f1, f2, f3}, [r+4]"
                )
            ),
            1,
            32,
            (x, y),
        )


def test_a_matrix_product_of_tensor_cores(rng):
    a, b, c = rng.standard_normal((16, 8)), rng.standard_normal((8, 8)), rng.standard_normal((16, 8))
    a, b, c = (v.astype("f4") for v in (a, b, c))
    lane = np.arange(32)
    g, t = lane // 4, lane % 4
    fragments = [a[g, t], a[g + 8, t], a[g, t + 4], a[g + 8, t + 4], b[t, g], b[t + 4, g]]
    fragments += [c[g, 2 * t], c[g, 2 * t + 1], c[g + 8, 2 * t], c[g + 8, 2 * t + 1]]
    packed, out = np.ascontiguousarray(np.array(fragments).reshape(-1)), np.zeros(128, "f4")
    loads = [f"ld.global.b32 x{k}, [%a0+{128 * k}];" for k in range(10)]
    product = "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {y0,y1,y2,y3}, {x0,x1,x2,x3}, {x4,x5}, {x6,x7,x8,x9};"
    stores = [f"st.global.f32 [%a1+{128 * k}], y{k};" for k in range(4)]
    lines = ["add.u64 %a0, %a0, %at; add.u64 %a1, %a1, %at;", *loads, product, *stores]
    run(Program(written(*lines, arrays=2, registers=".reg .b32 x<10>, y<4>;")), 1, 32, (packed, out))
    low = np.uint32(0xFFFFE000)
    exact = (a.view("u4") & low).view("f4").astype("f8") @ (b.view("u4") & low).view("f4") + c
    y = out.reshape(4, 32)
    result = np.zeros((16, 8))
    result[g, 2 * t], result[g, 2 * t + 1], result[g + 8, 2 * t], result[g + 8, 2 * t + 1] = y
    np.testing.assert_allclose(result, exact, atol=1e-6)  # eight sums in float32


def test_device_functions_jump_tables_and_constants():
    text = """
        .version 8.0
        .target sm_90
        .address_size 64
        .const .align 4 .u32 table[4] = {10, 20, 30, 40};
        .func (.param .b32 result) triple(.param .b32 x)
        {
            .reg .b32 %r<3>;
            ld.param.u32 %r1, [x];
            mul.lo.u32 %r2, %r1, 3;
            st.param.b32 [result], %r2;
            ret;
        }
        .entry kernel(.param .u64 p0, .param .u64 p1, .param .u64 p2, .param .u64 p3, .param .u64 p4, .param .u64 p5,
            .param .u64 p6)
        {
            .reg .b32 %r<9>; .reg .b64 %rd<9>;
            mov.u32 %r1, %laneid;
            and.b32 %r2, %r1, 3;
            mul.wide.u32 %rd1, %r2, 4;
            mov.u64 %rd2, table;
            add.u64 %rd2, %rd2, %rd1;
            ld.const.u32 %r3, [%rd2];
            brx.idx %r2, targets;
        targets: .branchtargets ONE, TWO, ONE, THREE;
        ONE:
            add.u32 %r3, %r3, 1;
            bra DONE;
        TWO:
            {
                .param .b32 x0;
                .param .b32 y0;
                st.param.b32 [x0], %r3;
                call.uni (y0), triple, (x0);
                ld.param.b32 %r3, [y0];
            }
            bra DONE;
        THREE:
            add.u32 %r3, %r3, 3;
        DONE:
            ld.param.u64 %rd3, [p4];
            mul.wide.u32 %rd4, %r1, 4;
            add.u64 %rd3, %rd3, %rd4;
            st.global.u32 [%rd3], %r3;
            ret;
        }
    """
    out = np.zeros(32, "u4")
    run(Program(text), 1, 32, (out,))
    assert out.tolist() == [11, 60, 31, 43] * 8


HAND_OVER = """
    setp.lt.u32 p, %tid, 32;
    mov.u64 s, memory;
    add.u64 s, s, %at;
    @p bra PRODUCE;
    bar.sync 1, 64;
    ld.shared.u32 r, [s+-128];
    add.u64 %a0, %a0, %at;
    st.global.u32 [%a0+-128], r;
    ret;
    PRODUCE:
    st.shared.u32 [s], %tid;
    bar.arrive 1, 64;
"""


def test_named_barriers():
    registers = ".shared .align 4 .b8 memory[128]; .reg .pred p; .reg .u64 s; .reg .u32 r;"
    text, out = written(HAND_OVER, arrays=1, registers=registers), np.zeros(32, "u4")
    run(Program(text), 1, 64, (out,))
    assert out.tolist() == list(range(32))
    with pytest.raises((SharedRaceError, UninitialisedSharedError)):
        run(Program(text.replace("bar.sync 1, 64;", "").replace("bar.arrive 1, 64;", "")), 1, 64, (out,))
    with pytest.raises(DivergentBarrierError, match="32 threads"):
        run(Program(text.replace("bar.arrive 1, 64;", "")), 1, 64, (out,))


def test_asynchronous_copies(rng):
    x, out = rng.standard_normal((2, 128)).astype("f4")
    lines = [
        "mul.wide.u32 %at, %tid, 16; add.u64 %a0, %a0, %at; mov.u64 s, memory; add.u64 s, s, %at;",
        "cp.async.cg.shared.global [s], [%a0], 16; cp.async.commit_group; cp.async.wait_group 0; bar.sync 0;",
        "xor.b64 s, %at, 16; mov.u64 t, memory; add.u64 s, s, t; ld.shared.v4.f32 {f0, f1, f2, f3}, [s];",
        "add.u64 %a1, %a1, %at; st.global.v4.f32 [%a1], {f0, f1, f2, f3};",
    ]
    text = written(*lines, arrays=2, registers=".shared .align 16 .b8 memory[512]; .reg .f32 f<4>; .reg .u64 s, t;")
    run(Program(text), 1, 32, (x, out))
    np.testing.assert_array_equal(out.reshape(16, 2, 4), x.reshape(16, 2, 4)[:, ::-1])
    with pytest.raises(UninitialisedSharedError):
        run(Program(text.replace("cp.async.wait_group 0;", "")), 1, 32, (x, out))
    with pytest.raises((SharedRaceError, UninitialisedSharedError)):
        run(Program(text.replace("bar.sync 0;", "")), 1, 32, (x, out))


def test_what_is_not_known_is_refused():
    with pytest.raises(UnknownInstructionError, match=r"frobnicate\.u32"):
        evaluate("frobnicate.u32 d, a;", "u4", a=A32)
    with pytest.raises(UnknownInstructionError, match=r"\.odd"):
        evaluate("add.odd.f32 d, a, a;", "f4", a=F32)
    with pytest.raises(UnknownInstructionError, match=r"%clock_hi"):
        evaluate("mov.u32 d, %clock_hi;", "u4", a=A32)
    with pytest.raises(UnknownInstructionError, match="no label nowhere"):
        evaluate("bra nowhere;", "u4", a=A32)


def test_registers_that_nobody_wrote_are_caught():
    with pytest.raises(
        UnwrittenRegisterError, match=r"add.u32 d, d, a: thread \(0, 0, 0\) of block \(0, 0, 0\) never wrote d"
    ):
        evaluate("add.u32 d, d, a;", "u4", a=A32)
    with pytest.raises(UnwrittenRegisterError, match=r"thread \(1, 0, 0\) .* never wrote d"):
        evaluate("setp.eq.u32 p, a, 0; @p mov.u32 d, a;", "u4", a=A32)


def test_traps_endless_loops_and_absent_lanes_are_caught(monkeypatch):
    with pytest.raises(TrapError, match=r"thread \(1, 0, 0\)"):
        evaluate("mov.u32 d, a; setp.eq.u32 p, a, 1; @p trap;", "u4", a=A32)
    monkeypatch.setattr("ptx_machine.LIMIT", 1000)
    with pytest.raises(EndlessError, match="still running"):
        evaluate("mov.u32 d, a; AGAIN: bra AGAIN;", "u4", a=A32)
    with pytest.raises(InactiveLaneError, match=r"thread \(5, 0, 0\) .* reads from lane 6"):
        evaluate("shfl.sync.down.b32 d, a, 1, 0x1f, -1;", "u4", a=A32)  # of six threads
    with pytest.raises(PtxError, match="is not in its own mask"):
        evaluate("shfl.sync.idx.b32 d, a, 0, 0x1f, 3;", "u4", a=A32)
