import { assertEquals, assertThrows } from "@std/assert";
import { basename, dirname, join } from "@std/path";
import { ModelNotFoundError } from "../../../weights/errors.ts";
import { findRepository, modelCaches } from "../../../weights/hub/cache.ts";
import { listModels } from "../../../weights/mod.ts";
import { FILES, Scene, UNET } from "./pulled_model.ts";

const COMMIT = "ab".repeat(20);
const MAIN = { name: "org/name", revision: "main" };

/** Writes what Hugging Face's library would have downloaded of org/name, and returns the snapshot's folder. */
function writeHuggingFace({ home, variables }: Scene, { commit = COMMIT, ref = "main", without = "" } = {}): string {
  variables.HF_HUB_CACHE = join(home, "hf");
  const repository = join(home, "hf", "models--org--name");
  const snapshot = join(repository, "snapshots", commit);
  for (const [path, { bytes }] of FILES) {
    if (path === without) continue;
    Deno.mkdirSync(dirname(join(snapshot, path)), { recursive: true });
    Deno.writeFileSync(join(snapshot, path), bytes);
  }
  Deno.mkdirSync(join(repository, "refs"), { recursive: true });
  Deno.writeTextFileSync(join(repository, "refs", ref), commit);
  return snapshot;
}

Deno.test("the program's own cache goes before Hugging Face's, which is found as its library finds it", () => {
  const folders = (variables: Readonly<Record<string, string>>) =>
    modelCaches((name) => variables[name]).map(({ owner, folder }) => [owner, folder]);
  const HOME = "/home/me";
  const own = ["denoise", "/cache/denoise/hub"];
  const named = { HOME, XDG_CACHE_HOME: "/cache", HF_HOME: "/hf", HF_HUB_CACHE: "/hub" };
  assertEquals(folders(named), [own, ["Hugging Face", "/hub"]]);
  assertEquals(folders({ ...named, HF_HUB_CACHE: "" }), [own, ["Hugging Face", "/hf/hub"]]);
  assertEquals(folders({ HOME, XDG_CACHE_HOME: "/cache" }), [own, ["Hugging Face", "/cache/huggingface/hub"]]);
  // Ours is where the system has caches.
  assertEquals(folders({ HOME }).at(-1), ["Hugging Face", "/home/me/.cache/huggingface/hub"]);
  assertEquals(folders({}), []);
});

Deno.test("a repository is found by name, by branch and by commit", () => {
  using scene = new Scene();
  const snapshot = writeHuggingFace(scene, { ref: "fp16" });
  for (const revision of ["fp16", COMMIT]) {
    assertEquals(findRepository({ ...MAIN, revision }, scene.variable), snapshot);
  }
  for (const repository of [MAIN, { ...MAIN, revision: COMMIT.slice(0, 12) }, { ...MAIN, name: "org/other" }]) {
    assertThrows(() => findRepository(repository, scene.variable), ModelNotFoundError, "is not on this machine");
  }
  assertEquals(scene.hub.seen, []);
});

Deno.test("a repository of which a part is missing is told with the part and the way to get it", () => {
  using scene = new Scene();
  const snapshot = writeHuggingFace(scene, { without: UNET });
  const words = `The model org/name is in ${snapshot} without ${UNET}; "denoise pull org/name" downloads it`;
  assertThrows(() => findRepository(MAIN, scene.variable), ModelNotFoundError, words);
});

Deno.test("what Hugging Face's cache has is not downloaded", async () => {
  using scene = new Scene();
  const directory = writeHuggingFace(scene, { commit: scene.hub.commit });
  const { downloaded, ...pulled } = await scene.pull();
  assertEquals([pulled.directory, downloaded, scene.hub.seen.length], [directory, 0, 1]);
});

Deno.test("what was downloaded goes before an older commit in Hugging Face's cache; both are listed", async () => {
  using scene = new Scene();
  const old = writeHuggingFace(scene);
  assertEquals(findRepository(MAIN, scene.variable), old);
  const { directory } = await scene.pull();
  assertEquals(findRepository(MAIN, scene.variable), directory);
  const listed = listModels(scene.variable).filter(({ owner }) => owner !== "embedded");
  assertEquals(listed.map(({ name, owner, directory, missing }) => [name, owner, directory, missing]), [
    ["org/name", "denoise", directory, []],
    [`org/name@${COMMIT}`, "Hugging Face", old, []],
  ]);
});

Deno.test("the list has sizes, revisions, half downloads, and nothing that is no model", async () => {
  using scene = new Scene();
  const listed = () =>
    listModels(scene.variable).map(({ name, owner, bytes, missing }) => [name, owner, bytes, missing.join()]);
  const [emoji, ...none] = listed();
  assertEquals([emoji?.slice(0, 2), none], [["emoji", "embedded"], []]);

  scene.always(UNET, (seen) => ({ ...scene.hub.answer(seen), cut: 1 }));
  await scene.pull({ revision: "fp16" }).catch(() => {});
  const half = scene.blobs().reduce((sum, name) => sum + Deno.statSync(join(scene.folder, "blobs", name)).size, 0);
  const [, [name, owner, bytes, missing]] = listed() as [unknown, string[]];
  assertEquals([name, owner, bytes], ["org/name", "denoise", half] as unknown[]);
  assertEquals(missing!.includes(UNET), true);

  scene.hub.misbehave = () => undefined;
  const pulled = await scene.pull({ revision: "fp16" });
  Deno.mkdirSync(join(scene.home, "denoise", "hub", "models--org--words", "snapshots", COMMIT), { recursive: true });
  Deno.writeTextFileSync(join(scene.home, "denoise", "hub", "version.txt"), "1");
  assertEquals(listed().slice(1), [["org/name@fp16", "denoise", pulled.bytes, ""]]);
});

Deno.test("a circle of links in a cache leads nowhere, and a download takes its place", async () => {
  const places = ["blobs/HASH", "refs/main", `snapshots/COMMIT/${UNET}`, "snapshots/COMMIT/unet", "snapshots/COMMIT"];
  for (const place of places) {
    using scene = new Scene();
    const { directory } = await scene.pull();
    const hash = Deno.readLinkSync(join(directory, UNET)).split("/").at(-1)!;
    const path = join(scene.folder, place.replace("HASH", hash).replace("COMMIT", scene.hub.commit));
    Deno.removeSync(path, { recursive: true });
    Deno.symlinkSync(basename(path), path);
    assertThrows(() => findRepository(MAIN, scene.variable), ModelNotFoundError, "org/name is");
    listModels(scene.variable);
    await scene.pull();
    assertEquals(findRepository(MAIN, scene.variable), directory);
  }
});

Deno.test("a folder that is a link to one around it is not gone through", () => {
  using scene = new Scene();
  const snapshot = writeHuggingFace(scene);
  Deno.symlinkSync("..", join(snapshot, "unet", "around"));
  assertEquals(findRepository(MAIN, scene.variable), snapshot);
  const listed = listModels(scene.variable).find(({ directory }) => directory === snapshot)!;
  assertEquals(listed.bytes, [...FILES.values()].reduce((sum, { bytes }) => sum + bytes.length, 0));
});
