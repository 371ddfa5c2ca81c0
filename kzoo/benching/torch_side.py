"""torchvision's network trained in a process of its own, which `bench` starts: it imports nothing of kzoo.

    python torch_side.py FUNCTION BATCH SIDE CLASSES PRECISION

Reads lines such as `eager 20` or `compile 20`, takes so many steps, and answers `done`, or `error: why`.
"""

import sys


def main() -> None:
    function, batch, side, classes, precision = sys.argv[1:]
    import torch
    import torchvision

    torch.manual_seed(0)
    given = {"aux_logits": False, "init_weights": False} if function in ("googlenet", "inception_v3") else {}
    model = getattr(torchvision.models, function)(num_classes=int(classes), **given).train()
    model = model.to(memory_format=torch.channels_last)
    ways = {"eager": model, "compile": torch.compile(model)}
    optimizer = torch.optim.Adam(model.parameters())
    batches = [
        (
            torch.rand(int(batch), 3, int(side), int(side)).to(memory_format=torch.channels_last),
            torch.randint(0, int(classes), (int(batch),)),
        )
        for _ in range(4)
    ]

    def steps(forward: torch.nn.Module, count: int) -> None:
        for k in range(count):
            x, y = batches[k % len(batches)]
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "mixed_bfloat16"):
                loss = torch.nn.functional.cross_entropy(forward(x), y)
            loss.backward()
            optimizer.step()

    print("ready", flush=True)
    for line in sys.stdin:
        way, count = line.split()
        try:
            steps(ways[way], int(count))
        except Exception as error:  # torch.compile wants a C++ compiler
            print(f"error: {(str(error).strip().splitlines() or [type(error).__name__])[0]}", flush=True)
            continue
        print("done", flush=True)


if __name__ == "__main__":
    main()
