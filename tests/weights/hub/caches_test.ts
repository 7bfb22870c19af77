import { assertEquals } from "@std/assert";
import { modelCaches } from "../../../weights/hub/caches.ts";

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
