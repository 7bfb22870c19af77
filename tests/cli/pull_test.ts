import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { run } from "../../cli/run.ts";
import { type Content, hashOf } from "../weights/hub/loopback_hub.ts";
import { FILES, namesIn, Scene, UNET } from "../weights/hub/pulled_model.ts";
import { runDenoise, startDenoise } from "./denoise_process.ts";
import { fakeEnvironment } from "./fake_environment.ts";

const TINY = new URL("../../fixtures/tiny-sd1/", import.meta.url);
const HALF = UNET.replace(".safetensors", ".fp16.safetensors");

/** A model of the right family, if its configuration is not changed. */
function tinyModel(changes: Readonly<Record<string, Content>> = {}): ReadonlyMap<string, Content> {
  const configs = ["text_encoder/config.json", "unet/config.json", "vae/config.json"].map((path) =>
    [path, { bytes: Deno.readFileSync(new URL(path, TINY)), lfs: false }] as const
  );
  return new Map([...FILES, ...configs, ...Object.entries(changes)]);
}

async function runFake({ variables }: Scene, args: readonly string[], terminal = false) {
  const environment = fakeEnvironment({ variables, terminal });
  const code = await run(args, environment);
  return { code, ...environment.written };
}

Deno.test("pull prints the folder; what is downloaded is announced, and how far it is", async () => {
  using scene = new Scene(tinyModel({ [HALF]: FILES.get(UNET)! }));
  const { code, stdout, stderr } = await runFake(scene, ["pull", "org/name"]);
  assertEquals([code, stdout], [0, `${scene.snapshot}\n`], stderr);
  const [asked, announced, ...progress] = stderr.trimEnd().split("\n");
  assertEquals(asked, `Asking ${scene.hub.endpoint} for org/name`);
  const words = /^Downloading org\/name at c0c0c0c0c0c0: 10 files, \d\.\d kB, weights in half precision \(fp16\)/;
  assert(words.test(announced!), announced);
  assert(progress.length <= 10 && /^(\d\.\d kB) of \1, 100 %$/.test(progress.at(-1)!), stderr);
  assertEquals(scene.hub.rangesOf(UNET), []);

  const again = await runFake(scene, ["pull", "org/name@main"]);
  assertEquals([again.code, again.stdout], [0, stdout]);
  assert(/\nAll \d\.\d kB of org\/name are here already\n$/.test(again.stderr), again.stderr);
  const quiet = await runFake(scene, ["pull", "org/name", "--revision", "v1", "--quiet", "--json"]);
  const { bytes, ...document } = JSON.parse(quiet.stdout);
  const { commit } = scene.hub;
  const expected = { schema: 1, model: "org/name@v1", directory: scene.snapshot, commit, downloaded: 0 };
  assertEquals([document, quiet.stderr, bytes > 0], [expected, "", true]);
});

Deno.test("a model that cannot be drawn with is refused before its weights are downloaded", async () => {
  const text = (json: string) => ({ bytes: new TextEncoder().encode(json), lfs: false });
  using scene = new Scene(tinyModel({
    "model_index.json": text('{"_class_name": "StableDiffusion3Pipeline"}'),
  }));
  const { code, stderr } = await runFake(scene, ["pull", "org/name"]);
  assertEquals(code, 5, stderr);
  assertStringIncludes(stderr, 'model_index.json: _class_name is "StableDiffusion3Pipeline"; only models of');
  assertEquals(scene.hub.seen.filter(({ path }) => path.endsWith(".safetensors")), []);
  assertEquals(namesIn(join(scene.folder, "snapshots")), []);
});

Deno.test("a repository in another layout is refused with what it has", async () => {
  const pickled = new Map([...FILES].map(([path, content]) => [path.replace(UNET, `${UNET}.bin`), content]));
  const single = new Map([["model.safetensors", FILES.get(UNET)!]]);
  for (
    const [files, words] of [
      [pickled, `org/name: the repository has no ${UNET}, but Python pickles`],
      [single, "it has no model_index.json; it has single files (model.safetensors)"],
    ] as const
  ) {
    using scene = new Scene(files);
    const { code, stderr } = await runFake(scene, ["pull", "org/name"]);
    assertEquals(code, 5, stderr);
    assertStringIncludes(stderr, words);
  }
});

Deno.test("each failure has its exit code and one sentence", async () => {
  using scene = new Scene(tinyModel());
  const failures: readonly (readonly [code: number, words: string, args: string, prepare: () => void])[] = [
    [2, "Which model?", "", () => {}],
    [2, "Which model?", "org/a org/b", () => {}],
    [2, '"name" is not a repository', "name", () => {}],
    [2, '"org/name@v1" with --revision "v2"', "org/name@v1 --revision v2", () => {}],
    [2, "--steps is not an option of denoise pull", "org/name --steps 3", () => {}],
    [4, "does not give org/name (404)", "org/name", () => scene.hub.misbehave = () => ({ status: 404 })],
    [5, "gives it 3000 bytes, and it has 2", "org/name", () => scene.always(UNET, () => ({ body: "{}" }))],
    [8, "Cannot write", "org/name", () => Deno.writeTextFileSync(join(scene.home, "denoise"), "a file")],
    [2, "HF_TOKEN has a line break", "org/name", () => scene.variables.HF_TOKEN = "hf_one\nhf_two"],
    [2, "HF_ENDPOINT is", "org/name", () => scene.variables.HF_ENDPOINT = "ftp://example"],
  ];
  for (const [code, words, args, prepare] of failures) {
    Deno.removeSync(scene.home, { recursive: true });
    Deno.mkdirSync(scene.home);
    prepare();
    const failed = await runFake(scene, ["pull", ...args.split(" ").filter(Boolean), "--quiet"]);
    assertEquals([failed.code, failed.stdout], [code, ""], failed.stderr);
    assert(failed.stderr.startsWith("denoise: ") && failed.stderr.trimEnd().split("\n").length === 1, failed.stderr);
    assertStringIncludes(failed.stderr, words);
  }
});

Deno.test("offline, the network is not touched: the model is here, or how to get it is told", async () => {
  using scene = new Scene(tinyModel());
  const offline = () => runFake(scene, ["pull", "org/name", "--offline"]);
  const { code, stderr } = await offline();
  assertEquals(code, 4);
  assertStringIncludes(stderr, '"denoise pull org/name" downloads it when it may use the network, which --offline or');
  for (const value of ["1", "true", "ON"]) {
    scene.variables.HF_HUB_OFFLINE = value;
    assertEquals((await runFake(scene, ["pull", "org/name"])).code, 4);
  }
  assertEquals(scene.hub.seen, []);
  scene.variables.HF_HUB_OFFLINE = "0";
  await runFake(scene, ["pull", "org/name"]);
  scene.hub.seen.length = 0;
  const here = await offline();
  assertEquals([here.code, here.stdout, scene.hub.seen], [0, `${scene.snapshot}\n`, []]);
});

function bytesIn(path: string): number {
  try {
    return Deno.statSync(path).size;
  } catch {
    return 0;
  }
}

/** The flags that README gives for drawing. */
const PERMISSIONS = ["--no-prompt", "--allow-read", "--allow-write", "--allow-env"];

Deno.test("only a download needs the network's permission, and the tokenizer's is not needed", async () => {
  using scene = new Scene(tinyModel());
  const { variables } = scene;
  const denied = await runDenoise(["pull", "org/name"], { variables, permissions: PERMISSIONS });
  assertEquals([denied.code, scene.hub.seen], [1, []]);
  assertStringIncludes(denied.stderr, "--allow-net");
  const permissions = [...PERMISSIONS, `--allow-net=${new URL(scene.hub.endpoint).host}`];
  const allowed = await runDenoise(["pull", "org/name"], { variables, permissions });
  assertEquals([allowed.code, allowed.stdout], [0, `${scene.snapshot}\n`], allowed.stderr);
  const offline = await runDenoise(["pull", "org/name", "--offline"], { variables, permissions: PERMISSIONS });
  assertEquals([offline.code, offline.stdout], [0, allowed.stdout], offline.stderr);
  const models = await runDenoise(["models"], {
    variables,
    permissions: ["--no-prompt", "--allow-read", "--allow-env"],
  });
  assertStringIncludes(models.stdout, scene.snapshot);
});

Deno.test("where the environment may not be read, nobody is asked for a model", async () => {
  using scene = new Scene(tinyModel());
  const { variables } = scene;
  const names = ["HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE"];
  for (const [i, name] of [...names, ""].entries()) {
    const others = ["XDG_CACHE_HOME", "HOME", ...names.filter((other) => other !== name)];
    const granted = i === names.length ? ["--no-prompt", "--allow-read", "--allow-write"] : [
      "--no-prompt",
      "--allow-read",
      "--allow-write",
      `--allow-env=${others}`,
    ];
    const permissions = [...granted, "--allow-net"];
    const { code, stdout, stderr } = await runDenoise(["pull", "org/name"], { variables, permissions });
    assertEquals([code, stdout, scene.hub.seen], [1, "", []], stderr);
    const words = `denoise: Requires env access to "${
      name || names[0]
    }", without which it is not known where models come`;
    assertStringIncludes(stderr, words);
  }
});

Deno.test("the proxy of the environment is asked, not the hub", async () => {
  using scene = new Scene(tinyModel());
  const origin = "http://hub.invalid";
  scene.hub.misbehave = (seen) => scene.hub.answer({ ...seen, path: seen.path.replace(origin, "") });
  const variables = { ...scene.variables, HF_ENDPOINT: origin, HTTP_PROXY: scene.hub.endpoint };
  const { code, stderr } = await runDenoise(["pull", "org/name"], { variables });
  assertEquals(code, 0, stderr);
  assert(scene.hub.seen.length > 1 && scene.hub.seen.every(({ path }) => path.startsWith(`${origin}/`)));
});

Deno.test({
  name: "interrupted or killed, a download leaves nothing under a model's name, and the next one goes on",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    using scene = new Scene(tinyModel());
    const partial = join(scene.folder, "blobs", `${hashOf(FILES.get(UNET)!)}.incomplete`);
    const { variables } = scene;
    scene.always(UNET, (seen) => ({ ...scene.hub.answer(seen), stall: 1000 }));
    for (const [signal, code, bytes] of [["SIGINT", 130, 1000], ["SIGKILL", 137, 2000]] as const) {
      const child = startDenoise(["pull", "org/name"], { variables });
      const reader = child.stderr.getReader();
      while (bytesIn(partial) < bytes) await new Promise((resolve) => setTimeout(resolve, 20));
      child.kill(signal);
      assertEquals((await child.status).code, code);
      await Promise.all([reader.cancel(), child.stdout.cancel()]);
      const found = await runFake(scene, ["pull", "org/name", "--offline"]);
      assertEquals(found.code, 4);
    }
    scene.hub.misbehave = () => undefined;
    const { code, stdout } = await runFake(scene, ["pull", "org/name"]);
    assertEquals([code, stdout], [0, `${scene.snapshot}\n`]);
    assertEquals(scene.hub.rangesOf(UNET), [null, "bytes=1000-", "bytes=2000-"]);
  },
});
