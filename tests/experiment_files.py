"""A layer file of cuda-convnet and its layer-parameter file, written by hand."""

CONV = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[conv1]
type=conv
inputs=data
channels=3
filters=16
filterSize=5
padding=2
stride=2
initW=0.02
initB=0.5
neuron=relu
[rnorm1]
type=cmrnorm
inputs=conv1
channels=16
size=5
[fc10]
type=fc
inputs=rnorm1
outputs=10
initW=0.1
[probs]
type=softmax
inputs=fc10
[cost]
type=cost.logreg
inputs=labels,probs
"""
RATES = """
[conv1]
epsW=0.00001
epsB=0.002
momW=0.8
momB=0.9
wc=0.001
[fc10]
epsW=0.01
epsB=0.02
momW=0.9
momB=0.9
schedW=dexp[tgtFactor=250,noiseStdev=0,numSteps=4]
[rnorm1]
scale=0.001
pow=0.75
minDiv=2
[cost]
coeff=1
# epoch 3: set epsw to 0.00001 from 0.001 on conv1
# seeds 1, 2, 3 took 4.5 days
# logprob:  1.741473, 0.406640, 0.182100
# multiview logprob:  1.725738, 0.402500, 0.179940
"""
