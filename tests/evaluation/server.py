"""A server on loopback that speaks as much of OpenAI's completions as lm-eval's client asks for."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

from evaluation.models import LanguageModel


@contextmanager
def completions(model: LanguageModel) -> Iterator[str]:
    """Serves the model's network; gives the address. Prompts are ids, as lm-eval sends them."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompts = asked["prompt"] if isinstance(asked["prompt"][0], list) else [asked["prompt"]]
            answer = _echoed if asked.get("echo") else _continued
            choices = [{"index": i, **answer(model, ids, asked)} for i, ids in enumerate(prompts)]
            body = json.dumps({"choices": choices}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing into the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/completions"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@torch.no_grad()
def _logs(model: LanguageModel, ids: list[int]) -> torch.Tensor:
    return torch.log_softmax(model.lm.model(torch.tensor([ids])).logits[0].double(), -1)


def _echoed(model: LanguageModel, ids: list[int], _: dict[str, Any]) -> dict[str, Any]:
    """The prompt's own log-probabilities, the first unknown, and one token more."""
    logs = _logs(model, ids)
    tokens = [*ids, int(logs[-1].argmax())]
    own = [None] + [float(logs[at, token]) for at, token in enumerate(tokens[1:])]
    top = [None] + [{"": float(logs[at].max())} for at in range(len(ids))]
    return {"text": "", "logprobs": {"token_logprobs": own, "top_logprobs": top}}


def _continued(model: LanguageModel, ids: list[int], asked: dict[str, Any]) -> dict[str, Any]:
    made: list[int] = []
    while len(made) < asked["max_tokens"]:
        token = int(_logs(model, [*ids, *made])[-1].argmax())
        made.append(token)
        text = str(model.tokenizer.fast.decode(made))  # special tokens left out, as servers do
        ends = [text.index(stop) for stop in asked["stop"] if stop in text]
        if ends or token == model.eod:
            return {"text": text[: min(ends, default=len(text))]}
    return {"text": str(model.tokenizer.fast.decode(made))}
