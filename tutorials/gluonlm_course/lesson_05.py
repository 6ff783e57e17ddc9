"""Answers to the exercises of lesson 5."""

from gluonlm_course.answers import Array, Number, Several

TITLE = "Back-propagation through time"
EXERCISES = {
    1: Array(
        [
            0.6763532101963311,
            -0.15595988497880203,
            -0.8048694874190092,
            -0.7885473671163663,
            0.8109950675270807,
            0.4869202671803944,
            -0.7646567230695595,
            -0.6392536664459341,
        ],
        within=1e-4,
        relative=1e-3,
        why="after the loop, `later` is the gradient for h_0.",
        hint="take the gradient that the first step would pass to a step before it, at h_0 = 0, "
        "with the random numbers of the lesson's first cells",
    ),
    2: Several(
        {
            "ones": Number(50, hint="which directions pass every step unchanged?"),
            "zeros": Number(14, hint="one zero on the diagonal removes a direction for good"),
        },
        why="each Jacobian is diagonal, with 1 where the unit is on and 0 where it is off.",
    ),
    3: Several(
        {
            "small noise": Number(
                low=-1.2,
                high=-0.2,
                hint="use 60 steps, the noise times 0.05 and log10 of the largest singular value",
            ),
            "large noise": Number(
                low=-7.5,
                high=-5.2,
                hint="use 60 steps, the noise times 0.5 and log10 of the largest singular value",
            ),
        },
        why="the matrix keeps every length; only the slope of tanh shortens the gradient.",
    ),
    4: Number(
        9,
        within=0.25,
        why="0.9 / 0.1; the variance of the estimate is the price.",
        hint="the gradient travels d steps with probability 0.9 ** d * 0.1",
        wrong={
            10: "the cut step itself does not count",
            0.9: "this is the mean for a sequence of one step back",
        },
    ),
}
