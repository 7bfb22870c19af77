import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { run } from "../../cli/run.ts";
import { FILES } from "../weights/hub/pulled_model.ts";
import { fakeEnvironment } from "./fake_environment.ts";

const TINY = new URL("../../fixtures/tiny-sd1/", import.meta.url);
const COMMIT = "ab".repeat(20);

async function runFake(variables: Readonly<Record<string, string>>, ...args: string[]) {
  const environment = fakeEnvironment({ variables });
  const code = await run(["models", ...args], environment);
  return { code, ...environment.written };
}

/** Puts a model into a cache folder; its configurations are those of the tiny model. */
function writeModel(cache: string, name: string, changes: Readonly<Record<string, string>> = {}): string {
  const repository = join(cache, `models--${name.replace("/", "--")}`);
  const snapshot = join(repository, "snapshots", COMMIT);
  for (const path of FILES.keys()) {
    const file = join(snapshot, path);
    Deno.mkdirSync(join(file, ".."), { recursive: true });
    const config = /^(?:text_encoder|unet|vae)\/config/.test(path);
    const text = changes[path] ?? (config ? Deno.readTextFileSync(new URL(path, TINY)) : "{}");
    if (text !== "absent") Deno.writeTextFileSync(file, text);
  }
  Deno.mkdirSync(join(repository, "refs"), { recursive: true });
  Deno.writeTextFileSync(join(repository, "refs", "main"), COMMIT);
  return snapshot;
}

Deno.test("models are listed with size, family and folder, or why they cannot be drawn with", async () => {
  const home = Deno.makeTempDirSync({ prefix: "denoise-test-" });
  try {
    const variables = { XDG_CACHE_HOME: home, HF_HOME: join(home, "hf") };
    const good = writeModel(join(home, "denoise", "hub"), "org/good");
    const wide = writeModel(join(home, "hf", "hub"), "org/xl", {
      "unet/config.json": '{"addition_embed_type": "text_image"}',
    });
    const half = writeModel(join(home, "hf", "hub"), "org/half", { "vae/config.json": "absent" });
    writeModel(join(home, "hf", "hub"), "org/words", { "model_index.json": "absent" });

    const { code, stdout } = await runFake(variables);
    assertEquals(code, 0);
    const [emoji, ...rows] = stdout.trimEnd().split("\n").map((line) => line.split(/ {2,}/));
    assertEquals([emoji![0], emoji![2]], ["emoji", "SD 1.x"]);
    assertEquals(/^\d\d MB$/.test(emoji![1]!), true, emoji![1]);
    assertEquals(rows.map(([name, _size, family]) => [name, family]), [
      ["org/good", "SD 1.x"],
      ["org/half", "unusable"],
      ["org/xl", "unusable"],
    ]);
    assertEquals(rows[0]![3], good);
    assertEquals(rows[1]![3], `${half}: incomplete: there is no vae/config.json; "denoise pull org/half" downloads it`);
    assertStringIncludes(rows[2]![3]!, `${wide}: unet/config.json: addition_embed_type is "text_image"`);

    const { models, schema } = JSON.parse((await runFake(variables, "--json")).stdout);
    assertEquals([schema, models.length], [1, 4]);
    const { bytes, ...document } = models[1];
    assertEquals(document, { name: "org/good", owner: "denoise", directory: good, family: "SD 1.x" });
    assertEquals(bytes > 1000, true);
    assertEquals([models[3].owner, models[3].family], ["Hugging Face", undefined]);
  } finally {
    Deno.removeSync(home, { recursive: true });
  }
});

Deno.test("without caches the embedded models are listed; arguments are refused", async () => {
  const { code, stdout } = await runFake({});
  assertEquals([code, stdout.split("\n").length], [0, 2]);
  assertEquals((await runFake({}, "emoji")).code, 2);
});
