"""Answers of lesson 0."""

from gluonlm_course.answers import Number, Several

TITLE = "MXNet in fifteen minutes"
EXERCISES = {
    1: Number(
        1,
        within=1e-3,
        why="each pass replaces the gradient of the previous one.",
        hint="Divide x.grad after the second pass by the gradient that you know from calculus.",
        wrong={
            2: 'That is the sum of both passes, as with grad_req="add"; use the default.',
            0: "Without retain_graph=True, the second pass raises an error; set it in the first.",
        },
    ),
    2: Several(
        {
            "gradient descent": Number(
                64,
                relative=0.01,
                hint="The mean divides once, and step(n) divides again. Compare the movement of "
                "one weight in the first step.",
                wrong={
                    1 / 64: "Divide the step of the sum by the step of the mean.",
                    4096: "Only the mean divides twice.",
                },
            ),
            "Adam": Number(
                1,
                within=0.01,
                hint="Adam divides each gradient by its average size. Does a common factor remain?",
            ),
        },
        why="the factor divides out of Adam's step, not of gradient descent's.",
    ),
    3: Several(
        {
            "before": Number(
                10, hint="Without a compiled graph, Python runs in each call: count the calls."
            ),
            "after": Number(
                low=1,
                high=3,
                hint="Count only the lines printed after hybridize(). Python runs while the graph "
                "is built.",
                wrong={10: "Is the network a HybridBlock, and did you call hybridize()?"},
            ),
        },
        why="Python runs only while the graph is built.",
    ),
    4: Number(
        low=0,
        high=0.5,
        why="the calls only queue the work.",
        hint="Call mx.nd.waitall() before you start the clock, read the clock after the last call, "
        "wait again, and divide the first time by the second.",
        wrong={1: "Did the calls wait, by asnumpy() or wait_to_read(), before you read the clock?"},
    ),
}
