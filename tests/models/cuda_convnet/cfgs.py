"""Layer files and layer-parameter files of the tests' own."""

from alexnet_jax.models.cuda_convnet import Experiment, network_class

RATES = {"epsW": "0.01", "epsB": "0.02", "momW": "0.9", "momB": "0.9"}
NORM = {"scale": "0.5", "pow": "0.75"}


def section(name, type=None, **keys):
    """A section's text; `inputs` may be a list."""
    given = {"type": type, **keys}
    lines = [f"[{name}]"]
    for key, value in given.items():
        if value is not None:
            words = value if isinstance(value, list | tuple) else [value]
            lines.append(f"{key}={','.join(map(str, words))}")
    return "\n".join(lines)


DATA = section("data", "data", dataIdx=0) + "\n" + section("labels", "data", dataIdx=1)


def fc(name, inputs, outputs=10, **keys):
    """A dense layer."""
    return section(name, "fc", inputs=inputs, outputs=outputs, **keys)


def conv(name, inputs, channels, filters=16, size=3, **keys):
    """A convolution; `type` may be `local`."""
    given = {"type": "conv", "initW": 0.1, **keys}
    return section(
        name,
        inputs=inputs,
        channels=channels,
        filters=filters,
        filterSize=size,
        **given,
    )


def pool(name, inputs, channels=16, sizeX=3, stride=2, **keys):
    """A pooling layer."""
    given = {"pool": "max", **keys}
    return section(
        name,
        "pool",
        inputs=inputs,
        channels=channels,
        sizeX=sizeX,
        stride=stride,
        **given,
    )


def norm(name, kind, inputs, channels=16, size=5, **keys):
    """A normalization."""
    return section(name, kind, inputs=inputs, channels=channels, size=size, **keys)


def network(*sections, logits="fc"):
    """A layer file: images and labels, the sections, softmax and cost."""
    end = [
        section("probs", "softmax", inputs=logits),
        section("cost", "cost.logreg", inputs="labels,probs"),
    ]
    return "\n\n".join([DATA, *sections, *end]) + "\n"


def params(**sections):
    """A layer-parameter file: what each layer has beside rates; and the cost."""
    texts = [section(name, **keys) for name, keys in sections.items()]
    return "\n\n".join([*texts, section("cost", coeff=1, topk=5)]) + "\n"


def experiment(layers, of_params=None, **settings):
    """An experiment of texts."""
    given = {"params_name": "params.cfg", **settings}
    return Experiment("cfg:net.cfg", layers, of_params, **given)


def create(layers, of_params=None, **fields):
    """The network of texts."""
    return network_class(experiment(layers, of_params))(**fields)


def codes(layers, of_params=None):
    """What each layer of the network is written as, by its name."""
    steps = experiment(layers, of_params).lowered.steps
    return {step.name: (step.inputs, step.call.code()) for step in steps}


def towers_cfg():
    """Two towers: conv2 reads its own, conv3 and the dense layers both."""
    layers = []
    for a in "ab":
        relus = {"neuron": "relu"}
        layers += [
            conv(f"conv1{a}", "data", 3, 8, stride=2, gpu="ab".index(a)),
            norm(f"norm1{a}", "cmrnorm", f"conv1{a}", 8),
            pool(f"pool1{a}", f"norm1{a}", 8, **relus),
            conv(f"conv2{a}", f"pool1{a}", 8, 8, padding=1, initB=1, **relus),
            norm(f"norm2{a}", "rnorm", f"conv2{a}", 8, 3),
            section(f"drop{a}", "hs", inputs=f"norm2{a}", keep=0.25),
        ]
    for a, own in (("a", "dropa,dropb"), ("b", "dropb,dropa")):
        layers.append(conv(f"conv3{a}", own, [8, 8], 8, neuron="relu", initW="0.1,0.1"))
    for a in "ab":
        layers.append(fc(f"fc6{a}", "conv3a,conv3b", 6, neuron="logistic"))
    layers.append(fc("fc", "fc6a,fc6b"))
    norms = {f"norm{i}{a}": NORM for i in (1, 2) for a in "ab"}
    drops = dict.fromkeys(("dropa", "dropb"), {"enable": "true"})
    return network(*layers), params(**norms, **drops)
