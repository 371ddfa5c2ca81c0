"""Which digits a generator makes: 1,000 of its images named by kzoo's own LeNet-5.

python examples/dcgan_digits.py runs/0001-dcgan-mnist
"""

import sys

import numpy as np

import kzoo

source, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000
images = np.stack([made.pixels for made in kzoo.generate(source, count=count, seed=1)])
found = kzoo.predict("lenet5@mnist", images, top=1)
digits = np.array([p.class_ids[0] for p in found])
sure = np.array([p.scores[0] for p in found]) > 0.9
print(f"{count} images of {source}, named by lenet5@mnist; {sure.mean():.1%} with a probability above 0.9")
print("digit   all  sure")
for digit in range(10):
    print(f"{digit:5} {int((digits == digit).sum()):5} {int((sure & (digits == digit)).sum()):5}")
