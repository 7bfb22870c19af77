import { assert, assertEquals } from "@std/assert";
import project from "../deno.json" with { type: "json" };
import { findEmbedded, listEmbedded } from "../weights/model.ts";

Deno.test("the single executable has every embedded model with all that opening one reads", () => {
  const { compile } = project.tasks;
  const values = (flag: string) =>
    [...compile.matchAll(new RegExp(`--${flag} (\\S+)`, "g"))].map(([, value]) => value!);
  assertEquals(values("include"), listEmbedded().map((name) => `weights/${name}`));
  const left = values("exclude");
  for (const name of listEmbedded()) {
    const read = ["model_index.json", "denoise.json", "unet", "vae", "text_encoder", "tokenizer", "scheduler"];
    const there = [...Deno.readDirSync(findEmbedded(name)!)].map((entry) => entry.name);
    assert(read.every((part) => there.includes(part)), `${there}`);
    assert(!read.some((part) => left.includes(`weights/${name}/${part}`)), compile);
  }
});
