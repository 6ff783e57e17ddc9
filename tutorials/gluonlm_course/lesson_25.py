"""Answers to the exercises of lesson 25."""

from gluonlm_course.answers import Function, Number, Several

TITLE = "Inside a fused layer"

EXERCISES = {
    1: Several(
        {
            "faster": Number(
                low=1.5,
                high=100,
                hint="divide the speed with the flags by the speed without; compile with -O3 and "
                "-march=native",
            ),
            "difference": Number(
                low=1e-8,
                high=0.01,
                hint="compare the two result arrays, computed from the same numbers",
                wrong={0: "were both compiled? The sums have another order, and other last digits"},
            ),
        },
        why="the compiler adds 8 or 16 partial sums at once, so the last digits differ.",
    ),
    2: Number(
        low=1.05,
        high=30,
        hint="use the same tile for both, with another distance between the rows it reads",
        why="rows at large distances displace each other in the first cache.",
    ),
    3: Number(
        0,
        within=1e-4,
        hint="the reset gate multiplies the product of the state, including its bias",
        why="both compute the same equations, in another order.",
    ),
    4: Function(
        lambda bits, peak, bandwidth: bits / 8 * peak / (2 * bandwidth),
        trials=[(32, 100e9, 25e9), (16, 100e9, 25e9), (8, 3e12, 9e11)],
        wrong={
            lambda bits, peak, bandwidth: bits * peak / (2 * bandwidth): "bandwidth counts bytes, "
            "not bits",
            lambda bits, peak, bandwidth: bits / 8 * peak / bandwidth: "each weight and stream "
            "take two operations, a product and a sum",
        },
        hint="The limits are equal where bandwidth times operations per byte is the peak.",
        why="with fewer bits per weight, fewer streams are enough.",
    ),
}
