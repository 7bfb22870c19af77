import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { CacheError, ModelFileError, ModelNotFoundError } from "../../../weights/errors.ts";
import { filesBelow } from "../../../weights/hub/cache.ts";
import { hashOf, LoopbackHub } from "./loopback_hub.ts";
import { FILES, namesIn, Scene, UNET, UNET_BYTES } from "./pulled_model.ts";

const NEEDED = [...FILES.keys()].filter((path) => !/README|safety/.test(path)).sort();
const BYTES = NEEDED.reduce((sum, path) => sum + FILES.get(path)!.bytes.length, 0);
const unet = FILES.get(UNET)!;
const HASH = hashOf(unet);

/** Every file is there as the hub has it, and nothing else is. */
function assertWhole(scene: Scene): void {
  assertEquals([...filesBelow(scene.snapshot)].sort(), NEEDED);
  for (const path of NEEDED) {
    assertEquals(Deno.readFileSync(join(scene.snapshot, path)), scene.hub.files.get(path)!.bytes, path);
  }
  const hashes = NEEDED.map((path) => hashOf(scene.hub.files.get(path)!)).sort();
  assertEquals(scene.blobs(), hashes);
  assertEquals(namesIn(join(scene.folder, "snapshots")), [scene.hub.commit]);
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 5));
}

/** The model is not there, nor is any of the bytes that were wrong. */
function assertAbsent(scene: Scene): void {
  assertEquals(namesIn(join(scene.folder, "snapshots")).filter((name) => !name.endsWith(".incomplete")), []);
  assertEquals(namesIn(join(scene.folder, "refs")), []);
  assertEquals(scene.blobs().filter((name) => name.startsWith(HASH)), []);
}

Deno.test("what the program needs is downloaded, in the layout of Hugging Face's cache", async () => {
  using scene = new Scene();
  assertEquals(await scene.pull(), {
    directory: scene.snapshot,
    commit: scene.hub.commit,
    bytes: BYTES,
    downloaded: BYTES,
  });
  assertWhole(scene);
  assertEquals(Deno.readTextFileSync(join(scene.folder, "refs", "main")), scene.hub.commit);
  assertEquals(Deno.readLinkSync(join(scene.snapshot, UNET)), `../../../blobs/${HASH}`);
  const [ask, plan, ...progress] = scene.events;
  assertEquals(ask, { type: "ask", endpoint: scene.hub.endpoint });
  const { commit } = scene.hub;
  assertEquals(plan, { type: "plan", commit, files: NEEDED.length, bytes: BYTES, present: 0, half: false });
  assertEquals(progress.at(-1), { type: "progress", bytes: BYTES, total: BYTES });
  assertStringIncludes(scene.hub.seen[0]!.path, "/api/models/org/name/revision/main?blobs=true");
  assertEquals(scene.hub.seen.length, 1 + NEEDED.length);
});

Deno.test("a model that is here is not downloaded again, a tag for it neither", async () => {
  using scene = new Scene();
  await scene.pull();
  scene.hub.seen.length = 0;
  assertEquals((await scene.pull()).downloaded, 0);
  assertEquals((await scene.pull({ revision: "refs/pr/1" })).downloaded, 0);
  assertEquals(scene.hub.seen.length, 2);
  assertEquals(scene.events.filter(({ type }) => type === "plan").length, 1);
  assertEquals(Deno.readTextFileSync(join(scene.folder, "refs/refs/pr/1")), scene.hub.commit);
});

Deno.test("a model of which a file was deleted is completed", async () => {
  using scene = new Scene();
  await scene.pull();
  Deno.removeSync(join(scene.folder, "blobs", HASH));
  scene.hub.seen.length = 0;
  assertEquals((await scene.pull()).downloaded, UNET_BYTES);
  assertEquals([scene.hub.seen.length, scene.hub.rangesOf(UNET)], [2, [null]]);
  assertWhole(scene);
});

for (const cut of [-1, 0, 1, UNET_BYTES / 2, UNET_BYTES - 1]) {
  Deno.test(`cut at byte ${cut}, a download goes on where it was`, async () => {
    using scene = new Scene();
    scene.once(UNET, (seen) => ({ ...scene.hub.answer(seen), cut }));
    assertEquals((await scene.pull()).downloaded, BYTES);
    assertWhole(scene);
    assertEquals(scene.hub.rangesOf(UNET), [null, cut > 0 ? `bytes=${cut}-` : null]);
    assertEquals(scene.pauses, [1000]);
  });
}

Deno.test("a hub that sends the whole file instead of a range is heeded", async () => {
  using scene = new Scene();
  let count = 0;
  scene.always(UNET, () => ({ body: unet.bytes, ...(count++ === 0 ? { cut: 1000 } : {}) }));
  await scene.pull();
  assertWhole(scene);
  assertEquals(scene.hub.rangesOf(UNET), [null, "bytes=1000-"]);
});

for (
  const [title, reply] of [
    ["416", { status: 416 }],
    ["another range than was asked for", {
      status: 206,
      headers: { "content-range": `bytes 0-${UNET_BYTES - 1}/${UNET_BYTES}` },
      body: unet.bytes,
    }],
  ] as const
) {
  Deno.test(`${title} as the answer to a range begins the file anew`, async () => {
    using scene = new Scene();
    let count = 0;
    scene.always(UNET, (seen) => [{ ...scene.hub.answer(seen), cut: 1000 }, reply][count++]);
    await scene.pull();
    assertWhole(scene);
    assertEquals(scene.hub.rangesOf(UNET), [null, "bytes=1000-", null]);
  });
}

Deno.test("429 with Retry-After is waited for as long as it says", async () => {
  using scene = new Scene();
  let count = 0;
  const past = new Date(0).toUTCString();
  scene.always(UNET, () => ["7", past].map((value) => ({ status: 429, headers: { "retry-after": value } }))[count++]);
  await scene.pull();
  assertWhole(scene);
  assertEquals(scene.pauses, [7000, 0]);
});

Deno.test("a Retry-After of hours is told and not waited for", async () => {
  for (const [value, seconds] of [["7200", "7200 s"], ["Fri, 31 Dec 9999 23:59:59 GMT", ""]] as const) {
    using scene = new Scene();
    scene.always(UNET, () => ({ status: 429, headers: { "retry-after": value } }));
    await assertRejects(() => scene.pull(), ModelNotFoundError, `429; it wants to be asked again in ${seconds}`);
    assertEquals(scene.pauses, []);
    assertAbsent(scene);
  }
});

Deno.test("a hub that fails now and then is asked again, one that always fails a few times only", async () => {
  using scene = new Scene();
  scene.once(UNET, () => ({ status: 500 }));
  await scene.pull();
  assertWhole(scene);
  using broken = new Scene();
  broken.always(UNET, () => ({ status: 503 }));
  await assertRejects(() => broken.pull(), ModelNotFoundError, "answers 503; it failed 6 times");
  assertEquals(broken.pauses, [1000, 2000, 4000, 8000, 16000]);
  assertAbsent(broken);
});

Deno.test("a connection that is always cut ends the download; the next one goes on", async () => {
  using scene = new Scene();
  scene.always(UNET, (seen) => ({ ...scene.hub.answer(seen), cut: 1 }));
  await assertRejects(() => scene.pull(), ModelNotFoundError, "failed 6 times");
  assert(scene.blobs().includes(`${HASH}.incomplete`));
  scene.hub.misbehave = () => undefined;
  const { downloaded } = await scene.pull();
  assertEquals(downloaded, UNET_BYTES - 6 + 700);
  assertEquals(scene.hub.rangesOf(UNET).at(-1), "bytes=6-");
  assertWhole(scene);
});

Deno.test("a large file over a bad connection arrives, as long as each attempt brings it on", async () => {
  const large = { bytes: new Uint8Array(10 << 20).map((_, index) => index % 255), lfs: true };
  using scene = new Scene(new Map([...FILES, [UNET, large]]));
  scene.always(UNET, (seen) => ({ ...scene.hub.answer(seen), cut: 1 << 20 }));
  await scene.pull();
  assertWhole(scene);
  assertEquals(scene.pauses, new Array(9).fill(1000));
});

for (const length of [UNET_BYTES - 1, UNET_BYTES + 1]) {
  Deno.test(`a file of ${length} bytes that should have ${UNET_BYTES} is refused`, async () => {
    using scene = new Scene();
    scene.always(UNET, () => ({ body: new Uint8Array(length) }));
    await assertRejects(() => scene.pull(), ModelFileError, `gives it ${UNET_BYTES} bytes, and it has ${length}`);
    assertAbsent(scene);
  });
}

Deno.test("more bytes than were announced are refused", async () => {
  using scene = new Scene();
  const body = `${(UNET_BYTES + 9).toString(16)}\r\n${"x".repeat(UNET_BYTES + 9)}\r\n0\r\n\r\n`;
  scene.always(UNET, () => ({ body, headers: { "transfer-encoding": "chunked" } }));
  await assertRejects(() => scene.pull(), ModelFileError, `gives it ${UNET_BYTES} bytes, and it has`);
  assertAbsent(scene);
});

Deno.test("content with another hash is refused and not kept", async () => {
  using scene = new Scene();
  scene.always(UNET, () => ({ body: unet.bytes.map((byte, index) => index === 1234 ? byte ^ 1 : byte) }));
  await assertRejects(() => scene.pull(), ModelFileError, `the content's hash is not ${HASH}`);
  assertAbsent(scene);
  assertEquals(scene.hub.rangesOf(UNET), [null]);
});

Deno.test("a small file is checked by Git's hash", async () => {
  using scene = new Scene();
  scene.always("unet/config.json", () => ({ body: '{"unet": 2}' }));
  await assertRejects(() => scene.pull(), ModelFileError, "the content's hash is not");
});

Deno.test("what an earlier run has left is used when it is right, and dropped when it is not", async () => {
  for (
    const [left, ranges] of [
      [unet.bytes.subarray(0, 2000), ["bytes=2000-"]],
      [unet.bytes, []],
      [new Uint8Array(2000), ["bytes=2000-", null]],
      [new Uint8Array(UNET_BYTES), [null]],
      [new Uint8Array(UNET_BYTES + 1), [null]],
    ] as const
  ) {
    using scene = new Scene();
    Deno.mkdirSync(join(scene.folder, "blobs"), { recursive: true });
    Deno.writeFileSync(join(scene.folder, "blobs", `${HASH}.incomplete`), left);
    await scene.pull();
    assertWhole(scene);
    assertEquals(scene.hub.rangesOf(UNET), [...ranges]);
  }
});

Deno.test("a hub whose content changes under one commit is refused", async () => {
  using scene = new Scene();
  let count = 0;
  scene.always(UNET, (seen) => {
    const reply = scene.hub.answer(seen);
    return count++ === 0 ? { ...reply, cut: 1000 } : { ...reply, headers: { ...reply.headers, etag: "f".repeat(64) } };
  });
  await assertRejects(() => scene.pull(), ModelFileError, `the hash ${HASH}, and now it has ${"f".repeat(64)}`);
  assertEquals(namesIn(join(scene.folder, "refs")), []);
});

Deno.test("a branch that has moved is downloaded anew as far as it differs; leftovers go", async () => {
  using scene = new Scene();
  scene.always(UNET, (seen) => ({ ...scene.hub.answer(seen), cut: 0 }));
  await assertRejects(() => scene.pull(), ModelNotFoundError);
  Deno.writeTextFileSync(join(scene.folder, "blobs", `${HASH}.incomplete`), "left");
  scene.hub.misbehave = () => undefined;
  scene.hub.commit = "d0".repeat(20);
  scene.hub.files.set(UNET, { bytes: new Uint8Array(100), lfs: true });
  const { downloaded } = await scene.pull();
  assertEquals(downloaded, 100 + 700);
  assert(!scene.blobs().some((name) => name.endsWith(".incomplete")));
  assertEquals(Deno.readTextFileSync(join(scene.folder, "refs", "main")), scene.hub.commit);
  assertEquals(Deno.readFileSync(join(scene.snapshot, UNET)), new Uint8Array(100));
});

Deno.test("a redirect to another host is followed without the token; the hub's own requests have it", async () => {
  using scene = new Scene();
  using store = new LoopbackHub(FILES);
  scene.variables.HF_TOKEN = "secret";
  scene.hub.misbehave = (seen) => {
    const { headers, body } = scene.hub.answer(seen);
    if (!seen.path.includes("/resolve/") || !seen.path.endsWith(".safetensors")) return undefined;
    // What the other host says of a file is its own business.
    const linked = seen.path.endsWith(UNET)
      ? {}
      : { "x-linked-etag": headers!.etag!, "x-linked-size": `${body!.length}` };
    return { status: 302, headers: { ...linked, location: `${store.endpoint}${seen.path}?signature=x` } };
  };
  store.misbehave = (seen) => {
    const reply = store.answer({ ...seen, path: seen.path.split("?")[0]! });
    return { ...reply, headers: { ...reply.headers, etag: "e".repeat(64) } };
  };
  await scene.pull();
  assertWhole(scene);
  assertEquals(store.seen.map(({ headers }) => headers.get("authorization")), [null, null, null]);
  assert(scene.hub.seen.every(({ headers }) => headers.get("authorization") === "Bearer secret"));
});

Deno.test("a refusal of the host behind a redirect is not taken for the hub's", async () => {
  using scene = new Scene();
  using store = new LoopbackHub(FILES);
  store.misbehave = () => ({ status: 403, headers: { "x-error-code": "GatedRepo" } });
  scene.always(UNET, ({ path }) => ({ status: 302, headers: { location: `${store.endpoint}${path}` } }));
  const words = `${new URL(store.endpoint).host}, to which the hub redirects, answers 403`;
  await assertRejects(() => scene.pull(), ModelNotFoundError, words);
});

Deno.test("a redirect on the hub itself keeps the token, one without an end is given up", async () => {
  using scene = new Scene();
  scene.variables.HF_TOKEN = "secret";
  scene.hub.misbehave = (seen) =>
    seen.path.startsWith("/api/models/org/name/")
      ? { status: 307, headers: { location: seen.path.replace("org/name", "new-org/name") } }
      : undefined;
  await scene.pull();
  assertWhole(scene);
  assert(scene.hub.seen.every(({ headers }) => headers.get("authorization") === "Bearer secret"));

  using endless = new Scene();
  endless.always(UNET, ({ path }) => ({ status: 302, headers: { location: path } }));
  await assertRejects(() => endless.pull(), ModelNotFoundError, "is redirected more than 5 times");
  endless.always(UNET, () => ({ status: 302 }));
  await assertRejects(() => endless.pull(), ModelNotFoundError, "redirects to nowhere");
});

for (const stall of [0, 1000]) {
  Deno.test(`a hub that is silent after ${stall} bytes is asked again`, async () => {
    using scene = new Scene();
    scene.once(UNET, (seen) => ({ ...scene.hub.answer(seen), stall }));
    await scene.pull();
    assertWhole(scene);
    const retry = scene.events.find(({ type }) => type === "retry");
    assert(retry?.type === "retry");
    assertStringIncludes(retry.reason, "has been silent for 30 s");
  });
}

for (const drip of [7, 1000]) {
  Deno.test(`a hub that sends ${drip} bytes at a time is listened to`, async () => {
    using scene = new Scene();
    scene.always(UNET, (seen) => ({ ...scene.hub.answer(seen), drip }));
    await scene.pull();
    assertWhole(scene);
    assertEquals([scene.hub.rangesOf(UNET), scene.pauses], [[null], []]);
  });
}

Deno.test("an answer without an end is cut where it becomes too long", async () => {
  const kinds: readonly (readonly [path: string, body: string, words: string])[] = [
    ["main?blobs=true", " ".repeat(2 ** 16), "the hub's answer has more than the 16777216 bytes that are read"],
    ["main?blobs=true", `{"siblings": [${'{"rfilename": "a"},'.repeat(1e4)}`, "has more than the 16777216 bytes"],
    [UNET, "x", `gives it ${UNET_BYTES} bytes, and it has at least`],
    ["unet/config.json", "x".repeat(100), "gives it 11 bytes, and it has at least"],
  ];
  for (const [path, body, words] of kinds) {
    using scene = new Scene();
    scene.always(path, () => ({ body, endless: true }));
    await assertRejects(() => scene.pull(), ModelFileError, words);
    assertAbsent(scene);
  }
});

Deno.test("a list of more or longer files than a model has is refused before anything is downloaded", async () => {
  const file = (rfilename: string, size = 1) => ({ rfilename, size, blobId: "a".repeat(40) });
  const whole = Array.from(FILES.keys(), (path) => file(path));
  const shards = Array.from({ length: 400 }, (_, i) => {
    return file(UNET.replace(".", `-${`${i + 1}`.padStart(5, "0")}-of-00400.`));
  });
  const index = file(UNET.replace(".safetensors", ".safetensors.index.json"));
  const lists: readonly (readonly [siblings: readonly unknown[], words: string])[] = [
    [new Array(65_537).fill(file("a")), "the hub lists 65537 files; at most 65536 are read"],
    [
      [...whole.filter(({ rfilename }) => rfilename !== UNET), index, ...shards],
      "its weights are 403 files; at most 387",
    ],
    [[...whole, file("unet/config.json", 2 ** 24 + 1)], "unet/config.json: the hub lists it with 16777217 bytes"],
    [[...whole, file("tokenizer/vocab.json", 2 ** 53 - 1)], "bytes; at most 67108864 are read"],
    [
      [file("model_index.json"), ...shards.map(({ rfilename }) => file(`a\x1b]0;${rfilename}`))],
      "the repository has no",
    ],
  ];
  for (const [siblings, words] of lists) {
    using scene = new Scene();
    scene.hub.misbehave = ({ path }) =>
      path.startsWith("/api/") ? { body: JSON.stringify({ sha: scene.hub.commit, siblings }) } : undefined;
    const error = await assertRejects(() => scene.pull(), ModelFileError, words);
    assert(/^[ -~]{1,1000}$/.test(error.message), error.message);
    assertEquals([scene.hub.seen.length, namesIn(scene.home)], [1, []]);
  }
});

Deno.test("a full disk ends the download; when there is room, it goes on", async () => {
  using scene = new Scene();
  let room = 3000;
  const write = (file: Deno.FsFile, bytes: Uint8Array) => {
    if (room === 0) throw new Error("No space left on device (os error 28)");
    const count = file.writeSync(bytes.subarray(0, room));
    room -= count;
    return count;
  };
  const error = await assertRejects(() => scene.pull({ write }), CacheError, "No space left on device");
  assertStringIncludes(error.message, `Cannot write ${join(scene.folder, "blobs", HASH)}`);
  assertEquals(namesIn(join(scene.folder, "refs")), []);
  const { downloaded } = await scene.pull();
  assertEquals(downloaded, BYTES - 3000);
  assertWhole(scene);
});

Deno.test("a cache that cannot be written is told before the download", async () => {
  using scene = new Scene();
  Deno.writeTextFileSync(join(scene.home, "denoise"), "a file");
  await assertRejects(() => scene.pull(), CacheError, "Cannot write");
  delete scene.variables.XDG_CACHE_HOME;
  await assertRejects(() => scene.pull(), CacheError, "neither XDG_CACHE_HOME nor HOME");
  assertEquals(scene.hub.rangesOf("model_index.json"), []);
});

Deno.test("of two downloads at once the second waits and has nothing to do", async () => {
  using scene = new Scene();
  const second = Promise.withResolvers<void>();
  // The first one gets its weights when the second one has asked for its list.
  scene.always(UNET, () => second.promise.then(() => undefined));
  const first = scene.pull();
  while (scene.hub.rangesOf(UNET).length === 0) await pause();
  const other = scene.pull();
  const waits = () => scene.events.some(({ type }) => type === "waiting");
  while (!waits() && scene.hub.rangesOf(UNET).length === 1) await pause();
  second.resolve();
  assertEquals([(await first).downloaded, (await other).downloaded], [BYTES, 0]);
  assertWhole(scene);
  assertEquals(scene.hub.rangesOf(UNET), [null]);
});

Deno.test("what the hub's list does not say is asked of each file", async () => {
  using scene = new Scene();
  scene.hub.misbehave = (seen) => {
    if (!seen.path.startsWith("/api/")) return undefined;
    const siblings = Array.from(FILES.keys(), (rfilename) => ({ rfilename }));
    return { body: JSON.stringify({ sha: scene.hub.commit, siblings }) };
  };
  await scene.pull();
  assertWhole(scene);
  const heads = scene.hub.seen.filter(({ method }) => method === "HEAD").map(({ path }) => path).sort();
  assertEquals(heads, NEEDED.map((path) => `/org/name/resolve/${scene.hub.commit}/${path}`));
});

Deno.test("answers that make no sense are refused", async () => {
  using scene = new Scene();
  for (
    const [body, words] of [
      ["<html>", "the hub's answer is not JSON"],
      ["[]", "answers a list of 0 without a commit and a list of files"],
      ['{"sha": "../..", "siblings": []}', "without a commit"],
      [`{"sha": "${"a".repeat(40)}", "siblings": []}`, "it has no model_index.json"],
    ] as const
  ) {
    scene.hub.misbehave = () => ({ body });
    await assertRejects(() => scene.pull(), ModelFileError, words);
  }
  assertEquals(namesIn(scene.home), []);
});

const REFUSALS: readonly (readonly [status: number, code: string, token: string, words: string])[] = [
  [401, "GatedRepo", "", "org/name is gated: accept its conditions at ENDPOINT/org/name; then set HF_TOKEN to a token"],
  [403, "GatedRepo", "t", "is gated: accept its conditions at ENDPOINT/org/name; the token in HF_TOKEN must be"],
  [401, "RepoNotFound", "", "ENDPOINT does not give org/name (401); if it is private, set HF_TOKEN"],
  [404, "RepoNotFound", "t", "ENDPOINT does not give org/name (404); the token in HF_TOKEN is wrong or"],
  [403, "", "t", "ENDPOINT does not give org/name (403); the token in HF_TOKEN is wrong or may not read it"],
  [404, "RevisionNotFound", "", "org/name has no revision main; ENDPOINT/org/name/tree/main lists"],
  [451, "", "", "ENDPOINT refuses org/name with status 451"],
];

for (const [status, code, token, words] of REFUSALS) {
  Deno.test(`${status} ${code} ${token && "with a token "}is told with what can be done`, async () => {
    using scene = new Scene();
    scene.variables.HF_TOKEN = token;
    scene.hub.misbehave = () => ({ status, headers: { "x-error-code": code } });
    const expected = words.replaceAll("ENDPOINT", scene.hub.endpoint);
    await assertRejects(() => scene.pull(), ModelNotFoundError, expected);
    assertEquals([scene.pauses, namesIn(scene.home)], [[], []]);
  });
}

const TOKENS = ["hf_one\nhf_two", "hf_one\r\nX-Other: hf_two", "hf_\u0000one", "hf_\u0100one", "hf_one two", "hf_é"];

for (const token of TOKENS) {
  Deno.test(`HF_TOKEN ${JSON.stringify(token)} is refused and not repeated`, async () => {
    using scene = new Scene();
    scene.variables.HF_TOKEN = token;
    const error = await assertRejects(() => scene.pull(), RangeError, "HF_TOKEN has a line break or another character");
    assert(!Deno.inspect(error).includes("hf_"), error.message);
    assertEquals(scene.hub.seen, []);
  });
}

Deno.test("a name and a password in HF_ENDPOINT are sent to the hub, and neither said nor sent elsewhere", async () => {
  using scene = new Scene();
  using store = new LoopbackHub(FILES);
  const { endpoint } = scene.hub;
  scene.variables.HF_ENDPOINT = `${endpoint.replace("://", "://us%40er:p%C3%A4ss@")}/`;
  scene.variables.HF_TOKEN = "hf_token";
  scene.always(UNET, ({ path }) => ({ status: 302, headers: { location: `${store.endpoint}${path}` } }));
  await scene.pull();
  assertWhole(scene);
  const basic = `Basic ${new TextEncoder().encode("us@er:päss").toBase64()}`;
  assert(scene.hub.seen.every(({ headers }) => headers.get("authorization") === basic));
  assertEquals(store.seen.map(({ headers }) => headers.get("authorization")), [null]);
  assertEquals(scene.events[0], { type: "ask", endpoint });

  const told: unknown[] = [scene.events];
  const failures: readonly LoopbackHub["misbehave"][] = [
    ...[401, 403, 404, 416, 429, 451, 500].map((status) => () => ({ status })),
    ...["GatedRepo", "RevisionNotFound"].map((code) => () => ({ status: 401, headers: { "x-error-code": code } })),
    () => ({ cut: -1 }),
    () => ({ body: "<html>" }),
    () => ({ body: "x".repeat(2 ** 16), endless: true }),
    ...["https://[", "ftp://us%40er:p%C3%A4ss@x"].map((location) => () => ({ status: 302, headers: { location } })),
  ];
  for (const misbehave of failures) {
    for (const path of ["/api/", "/resolve/"]) {
      using broken = new Scene();
      broken.variables.HF_ENDPOINT = broken.hub.endpoint.replace("://", "://us%40er:p%C3%A4ss@");
      broken.hub.misbehave = (seen) => seen.path.includes(path) ? misbehave(seen) : undefined;
      told.push(await assertRejects(() => broken.pull(), Error), broken.events);
    }
  }
  for (const address of ["us@er:päss@host", "ftp://us%40er:p%C3%A4ss@host", "https://us%40er:p%C3%A4ss@host/?päss"]) {
    scene.variables.HF_ENDPOINT = address;
    told.push(await assertRejects(() => scene.pull(), RangeError, 'HF_ENDPOINT is "***@host'));
  }
  const text = Deno.inspect(told, { depth: 9, strAbbreviateSize: 1e6 });
  assert(
    !/us@er|us%40er|ss@|p%C3|päss|hf_token/.test(text),
    text.match(/.*(us@er|us%40er|ss@|p%C3|päss|hf_token).*/)?.[0],
  );
});

Deno.test("a hub that is not there is told by its name", async () => {
  using scene = new Scene();
  const gone = new LoopbackHub(FILES);
  gone[Symbol.dispose]();
  scene.variables.HF_ENDPOINT = gone.endpoint;
  const { host } = new URL(gone.endpoint);
  await assertRejects(() => scene.pull(), ModelNotFoundError, `The connection to ${host} failed (`);
  scene.variables.HF_ENDPOINT = "example";
  await assertRejects(() => scene.pull(), RangeError, 'HF_ENDPOINT is "example"');
});
