import { assert } from "@std/assert";
import { withFolder } from "./safetensors_bytes.ts";
import { openMutated } from "./safetensors_mutations.ts";

/** `deno task soak` tries a million. */
const COUNT = 10_000;

Deno.test(`safetensors: ${COUNT} mutated files give tensors or a clear error`, () => {
  const outcomes = { model: 0, error: 0 };
  withFolder((folder) => {
    for (let seed = 0; seed < COUNT; seed++) outcomes[openMutated(`${folder}/model.safetensors`, seed)]++;
  });
  assert(outcomes.model > COUNT / 100 && outcomes.error > COUNT / 2, JSON.stringify(outcomes));
});
