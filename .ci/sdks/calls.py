"""The official SDKs against the front door of a running `tollgate dev`, unmodified: only the address and the key are ours.

Environment: FRONT (the front door's address), KEY (an API key), NARROW (one that opens chat with the model "fast" alone),
WORK (a folder for files), TOLLGATE (the program), CONFIG (the file that it runs with), and NATS_URL, NATS_USER, NATS_PASSWORD of the team's user.
"""

import base64
import http.server
import itertools
import json
import os
import subprocess
import sys
import threading
import time
import traceback
import uuid

import anthropic
import openai
from anthropic.types.messages import MessageBatchIndividualResponse
from openai.types import Batch, BatchError, FileObject
from openai.types.chat import ChatCompletion

FRONT, KEY, NARROW, WORK = os.environ["FRONT"], os.environ["KEY"], os.environ["NARROW"], os.environ["WORK"]

client = openai.OpenAI(base_url=f"{FRONT}/v1", api_key=KEY)
claude = anthropic.Anthropic(base_url=FRONT, api_key=KEY)

HI = [{"role": "user", "content": "Say hello to the front door."}]
ECHO = {"metadata": {"sim": "echo"}}
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}}


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def tollgate(*args, may_fail=False):
    """Output of the program as the team's user; 1 is its exit code if some requests have no answer."""
    done = subprocess.run([os.environ["TOLLGATE"], *args, "--team", "search"], capture_output=True, text=True)
    assert done.returncode == 0 or (may_fail and done.returncode == 1), done.stderr
    return done.stdout


def openai_models():
    names = [model.id for model in client.models.list()]
    assert "fast" in names, names
    assert client.models.retrieve("fast").id == "fast"


def openai_chat():
    answer = client.chat.completions.with_raw_response.create(model="fast", messages=HI, **ECHO)
    assert answer.headers["x-tollgate-status"] == "succeeded"
    completion = answer.parse()
    assert completion.choices[0].message.content == HI[0]["content"]
    assert completion.choices[0].finish_reason == "stop" and completion.usage.total_tokens > 0
    assert completion._request_id.startswith("req_")


def openai_chat_streamed():
    stream = client.chat.completions.create(
        model="fast", messages=HI, stream=True, stream_options={"include_usage": True}, **ECHO
    )
    text, usage = "", None
    for chunk in stream:
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
        usage = chunk.usage or usage
    assert text == HI[0]["content"], text
    assert usage.total_tokens > 0


def openai_chat_streamed_by_the_helper():
    with client.chat.completions.stream(model="fast", messages=HI, **ECHO) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content == HI[0]["content"]


def openai_tools():
    tools = [{"type": "function", "function": {"name": "weather", "parameters": TOOL}}]
    asked = dict(model="fast", messages=HI, tools=tools, tool_choice="required")
    message = client.chat.completions.create(**asked).choices[0].message
    assert message.tool_calls[0].function.name == "weather"
    assert message.tool_calls[0].function.arguments == '{"city":"Paris"}'
    with client.chat.completions.stream(**asked) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"city":"Paris"}'
    told = HI + [message.model_dump(exclude_none=True)]
    told.append({"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"})
    assert client.chat.completions.create(model="fast", messages=told).choices[0].message.content


def openai_embeddings():
    made = client.embeddings.create(model="text-embedding-3-small", input=["one", "two"])
    assert len(made.data) == 2 and len(made.data[0].embedding) == 8
    plain = client.embeddings.create(model="text-embedding-3-small", input="one", encoding_format="float")
    assert all(abs(a - b) < 1e-6 for a, b in zip(made.data[0].embedding, plain.data[0].embedding))


def openai_responses():
    answer = client.responses.create(model="fast", input="Say hello")
    assert answer.output_text == "Say hello" and answer.status == "completed"
    text, kinds = "", []
    for event in client.responses.create(model="fast", input="Say hello", stream=True):
        kinds.append(event.type)
        if event.type == "response.output_text.delta":
            text += event.delta
    assert text == "Say hello" and kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds
    assert kinds.count("response.output_text.delta") == 2, kinds
    with client.responses.stream(model="fast", input="Say hello to all") as stream:
        seen = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert seen == final.output_text == "Say hello to all" and final.usage.total_tokens > 0
    tools = [{"type": "function", "name": "weather", "parameters": TOOL, "strict": False}]
    with client.responses.stream(model="fast", input="Hi", tools=tools, tool_choice="required") as stream:
        final = stream.get_final_response()
    call = final.output[0]
    assert (call.type, call.name, call.arguments) == ("function_call", "weather", '{"city":"Paris"}'), call


def openai_errors():
    once = client.with_options(max_retries=0)
    bad = once.with_options(api_key="tgk_nobody")
    assert raises(openai.AuthenticationError, bad.models.list).code == "invalid_api_key"
    missing = raises(openai.NotFoundError, lambda: once.chat.completions.create(model="nobody", messages=HI))
    assert missing.code == "model_not_found" and missing.request_id.startswith("req_")
    wrong = raises(openai.BadRequestError, lambda: once.chat.completions.create(model="fast", messages=[]))
    assert wrong.param == "messages", wrong
    narrow = once.with_options(api_key=NARROW)
    assert narrow.chat.completions.create(model="fast", messages=HI, max_tokens=3)
    raises(openai.PermissionDeniedError, lambda: narrow.chat.completions.create(model="smart", messages=HI))
    raises(openai.PermissionDeniedError, lambda: narrow.embeddings.create(model="fast", input="x"))
    failing = dict(model="fast", messages=HI, metadata={"sim": "status=400"})
    raises(openai.BadRequestError, lambda: once.chat.completions.create(**failing))
    raises(openai.BadRequestError, lambda: list(once.chat.completions.create(stream=True, **failing)))


def openai_idempotency_and_retries():
    name = str(uuid.uuid4())
    again = dict(extra_headers={"Idempotency-Key": name}, model="fast", messages=HI)
    first = client.chat.completions.with_raw_response.create(**again)
    second = client.chat.completions.with_raw_response.create(**again)
    assert first.headers["x-tollgate-job"] == second.headers["x-tollgate-job"]
    assert second.headers["x-tollgate-replayed"] == "true" and first.parse() == second.parse()
    other = dict(again, messages=[{"role": "user", "content": "Something else"}])
    reused = raises(openai.UnprocessableEntityError, lambda: client.chat.completions.create(**other))
    assert reused.code == "idempotency_key_reused"
    # The client gives up, calls again by itself, and both tries are one job.
    slow = dict(model="fast", messages=HI, metadata={"sim": "echo;delay=3s"})
    slow["extra_headers"] = {"Idempotency-Key": str(uuid.uuid4())}
    patient = client.with_options(timeout=2, max_retries=4)
    assert patient.chat.completions.create(**slow).choices[0].message.content == HI[0]["content"]


def openai_timeouts():
    slow = dict(model="fast", messages=HI, metadata={"sim": "echo;delay=4s"})
    hasty = client.with_options(timeout=1, max_retries=0)
    raises(openai.APITimeoutError, lambda: hasty.chat.completions.create(**slow))
    waited = client.chat.completions.with_raw_response.create(**slow, extra_headers={"x-tollgate-wait": "1"})
    assert waited.http_response.status_code == 202
    url = waited.http_response.json()["url"]
    deadline = time.monotonic() + 60
    while True:
        job = client.get(url.removeprefix("/v1"), cast_to=object, options={"headers": {"Prefer": "wait=10"}})
        if job["status"] == "succeeded":
            break
        assert time.monotonic() < deadline, job
    assert job["response"]["body"]["choices"][0]["message"]["content"] == HI[0]["content"]


def openai_options():
    answer = client.chat.completions.with_raw_response.create(
        model="fast",
        messages=HI,
        extra_headers={"x-tollgate-class": "batch"},
        extra_body={"tollgate": {"project": "ranking", "labels": {"feature": "sdk"}}},
    )
    assert answer.headers["x-tollgate-class"] == "batch"


def batch_lines(count):
    for n in range(count):
        model = "nobody" if n == 3 else "fast"
        body = {"model": model, "messages": HI, "max_tokens": 20}
        yield {"custom_id": f"q-{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def jsonl(lines):
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def ended(batch_id):
    deadline = time.monotonic() + 120
    while True:
        batch = client.batches.retrieve(batch_id)
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            return batch
        assert time.monotonic() < deadline, batch
        time.sleep(0.5)


def parse_output(text, expected):
    names = set()
    for line in text.splitlines():
        line = json.loads(line)
        assert {"id", "custom_id", "response", "error"} <= set(line), line
        assert line["custom_id"] not in names, line
        names.add(line["custom_id"])
        if line["error"] is None:
            assert line["response"]["status_code"] == 200 and line["response"]["request_id"], line
            completion = ChatCompletion.model_validate(line["response"]["body"])
            assert completion.choices[0].message.content is not None
        else:
            BatchError.model_validate(line["error"])
            assert line["response"] is None, line
    assert len(names) == expected, names
    return names


def openai_batch():
    file = client.files.create(file=("in.jsonl", jsonl(batch_lines(20))), purpose="batch")
    assert FileObject.model_validate(file.model_dump()) and file.status == "processed" and file.purpose == "batch"
    assert client.files.retrieve(file.id).bytes == len(jsonl(batch_lines(20))) == file.bytes
    assert file.id in [one.id for one in client.files.list(purpose="batch")]
    assert client.files.content(file.id).read() == jsonl(batch_lines(20))
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"for": "the sdk"}
    )
    assert batch.status == "validating" and batch.metadata == {"for": "the sdk"}
    done = ended(batch.id)
    Batch.model_validate(done.model_dump())
    assert done.status == "completed" and done.completed_at >= done.created_at, done
    assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (20, 19, 1)
    assert done.usage.total_tokens > 0
    answers = parse_output(client.files.content(done.output_file_id).text, 19)
    errors = parse_output(client.files.content(done.error_file_id).text, 1)
    assert errors == {"q-3"} and not answers & errors
    assert client.files.retrieve(done.output_file_id).purpose == "batch_output"
    # The same batch by the command line, and its results from there.
    listed = json.loads(tollgate("batch", "list", "--output", "json"))
    assert [one["state"] for one in listed if one["id"] == batch.id] == ["completed"], listed
    parse_output(tollgate("batch", "results", batch.id, may_fail=True), 20)
    assert client.files.delete(file.id).deleted
    raises(openai.NotFoundError, lambda: client.files.retrieve(file.id))


def openai_batches_in_pages_and_cancelled():
    file = client.files.create(file=("slow.jsonl", jsonl(dict(line, custom_id=f"s-{n}", body=dict(
        line["body"], model="fast", metadata={"sim": "delay=20s"})) for n, line in enumerate(batch_lines(60)))),
        purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600})
    assert file.expires_at == file.created_at + 3600
    asked = dict(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    made = [client.batches.create(**asked).id for _ in range(3)]
    assert len(set(made)) == 3
    first = client.batches.list(limit=2)
    assert [one.id for one in first.data] == [made[2], made[1]] and first.has_more
    assert [one.id for one in client.batches.list(limit=1, after=made[1])][0] == made[0]
    for batch_id in made:
        assert client.batches.cancel(batch_id).status in ("cancelling", "cancelled")
    for batch_id in made:
        batch = ended(batch_id)
        assert batch.status == "cancelled" and batch.cancelled_at, batch
        if batch.error_file_id:
            parse_output(client.files.content(batch.error_file_id).text, batch.request_counts.failed)
    again = dict(asked, extra_headers={"Idempotency-Key": str(uuid.uuid4())})
    assert client.batches.create(**again).id == client.batches.create(**again).id


def openai_webhook_of_a_batch():
    file = client.files.create(file=("one.jsonl", jsonl(itertools.islice(batch_lines(1), 1))), purpose="batch")
    batch = ended(client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="1h").id)
    told = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            told.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"])).decode()))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    secret = "whsec_" + base64.b64encode(os.urandom(32)).decode()
    config = os.path.join(WORK, "webhook.toml")
    with open(config, "w") as into:
        into.write(open(os.environ["CONFIG"]).read())
        url = f"http://127.0.0.1:{server.server_port}/"
        into.write(f'\n[webhooks.search]\nurl = "{url}"\nsecret = "{secret}"\nevents = ["batches"]\n')
    program = [os.environ["TOLLGATE"], "webhook", "replay", "--team", "search", "--batch", batch.id, "--config", config]
    # As the broker's user, whom the configuration names.
    env = {name: value for name, value in os.environ.items() if not name.startswith("NATS_")}
    done = subprocess.run(program, capture_output=True, text=True, env=env)
    server.shutdown()
    assert done.returncode == 0, done.stderr
    (headers, body), = told
    event = client.webhooks.unwrap(body, headers, secret=secret)
    assert event.type == "batch.completed" and event.data.id == batch.id, event
    raises(openai.InvalidWebhookSignatureError, lambda: client.webhooks.unwrap(body + " ", headers, secret=secret))


def openai_batch_that_is_wrong():
    once = client.with_options(max_retries=0)
    wrong = next(batch_lines(1))
    file = client.files.create(file=("bad.jsonl", jsonl([wrong, wrong]) + b"nonsense\n"), purpose="batch")
    asked = dict(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    batch = ended(client.batches.create(**asked).id)
    assert batch.status == "failed" and batch.output_file_id is None, batch
    assert [(error.code, error.line) for error in batch.errors.data] == [
        ("duplicate_custom_id", 2), ("invalid_json_line", 3)], batch.errors
    purpose = raises(openai.BadRequestError, lambda: once.files.create(file=b"x", purpose="fine-tune"))
    assert purpose.param == "purpose"
    raises(openai.NotFoundError, lambda: once.batches.retrieve("batch_nobody"))
    missing = dict(asked, input_file_id="file-" + "0" * 32)
    assert raises(openai.NotFoundError, lambda: once.batches.create(**missing)).param == "input_file_id"
    narrow = once.with_options(api_key=NARROW)
    raises(openai.PermissionDeniedError, lambda: narrow.batches.create(**dict(asked, endpoint="/v1/embeddings")))
    forbidden = narrow.files.create(file=("smart.jsonl", jsonl([dict(wrong, body=dict(wrong["body"], model="smart"))])), purpose="batch")
    batch = ended(narrow.batches.create(**dict(asked, input_file_id=forbidden.id)).id)
    assert batch.status == "failed" and batch.errors.data[0].code == "model_not_allowed", batch


def anthropic_batch_by_the_command_line():
    requests = [
        {"custom_id": f"a-{n}", "params": {"model": "nobody" if n == 2 else "fast", "max_tokens": 20, "messages": HI}}
        for n in range(6)
    ]
    path = os.path.join(WORK, "anthropic.json")
    with open(path, "w") as file:
        json.dump({"requests": requests}, file)
    out = os.path.join(WORK, "anthropic-out.jsonl")
    tollgate("batch", "submit", path, "--out", out, may_fail=True)
    kinds = {}
    for line in open(out):
        response = MessageBatchIndividualResponse.model_validate(json.loads(line))
        kinds[response.custom_id] = response.result.type
        if response.result.type == "succeeded":
            assert response.result.message.content[0].text and response.result.message.usage.output_tokens > 0
    assert kinds == {f"a-{n}": "errored" if n == 2 else "succeeded" for n in range(6)}, kinds


def anthropic_models():
    assert "fast" in [model.id for model in claude.models.list()]


def anthropic_message():
    message = claude.messages.create(model="fast", max_tokens=40, messages=HI, system="Be brief.")
    assert message.type == "message" and message.content[0].type == "text" and message.content[0].text
    assert message.usage.output_tokens > 0 and message.stop_reason in ("end_turn", "max_tokens")
    assert message._request_id.startswith("req_")


def anthropic_counts_tokens():
    short = claude.messages.count_tokens(model="fast", messages=HI)
    long = claude.messages.count_tokens(model="fast", messages=HI, system="Be brief. " * 50)
    assert 0 < short.input_tokens < 30 and long.input_tokens > short.input_tokens + 100, (short, long)
    unknown = [{"role": "user", "content": [{"type": "search_result", "source": "x", "title": "x", "content": []}]}]
    raises(anthropic.BadRequestError, lambda: claude.messages.count_tokens(model="fast", messages=unknown))


def anthropic_streamed():
    with claude.messages.stream(model="fast", max_tokens=40, messages=HI) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text and final.content[0].text == text
    assert final.usage.output_tokens > 0 and final.stop_reason in ("end_turn", "max_tokens")


def anthropic_tools():
    tools = [{"name": "weather", "description": "tells the weather", "input_schema": TOOL}]
    asked = dict(model="fast", max_tokens=100, messages=HI, tools=tools, tool_choice={"type": "any"})
    message = claude.messages.create(**asked)
    call = message.content[0]
    assert message.stop_reason == "tool_use" and call.name == "weather" and call.input == {"city": "Paris"}
    with claude.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    assert final.content[0].input == {"city": "Paris"} and final.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    told = HI + [{"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    assert claude.messages.create(model="fast", max_tokens=20, messages=told, tools=tools).content[0].text


def anthropic_errors():
    once = claude.with_options(max_retries=0)
    bad = once.with_options(api_key="tgk_nobody")
    asked = dict(model="fast", max_tokens=5, messages=HI)
    error = raises(anthropic.AuthenticationError, lambda: bad.messages.create(**asked))
    assert error.body["error"]["type"] == "authentication_error" and error.body["request_id"].startswith("req_")
    raises(anthropic.NotFoundError, lambda: once.messages.create(**dict(asked, model="nobody")))
    document = {"type": "search_result", "source": "x", "title": "x", "content": []}
    said = [{"role": "user", "content": [document]}]
    refused = raises(anthropic.BadRequestError, lambda: once.messages.create(**dict(asked, messages=said)))
    assert "messages.0.content.0" in refused.message, refused.message


def anthropic_idempotency():
    again = dict(model="fast", max_tokens=20, messages=HI, extra_headers={"Idempotency-Key": str(uuid.uuid4())})
    first, second = claude.messages.create(**again), claude.messages.create(**again)
    assert first.id == second.id


CASES = [case for name, case in list(globals().items()) if name.startswith(("openai_", "anthropic_"))]


def main():
    failed = 0
    for case in CASES:
        try:
            case()
            print(f"ok      {case.__name__}")
        except Exception:
            failed += 1
            print(f"FAILED  {case.__name__}")
            traceback.print_exc(file=sys.stdout)
    print(f"{len(CASES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
