import { assertEquals } from "@std/assert";
import { commands } from "../../cli/commands.ts";
import { optionEntry } from "../../cli/options.ts";

/** Options of a run: no line of a batch may say them, and no picture keeps them. */
const OF_A_RUN = [
  "prompt-file",
  "lora-dir",
  "tune",
  "from",
  "trust-paths",
  "grid",
  "preview",
  "show",
  "preview-every",
  "preview-vae",
  "skip-existing",
  "no-clobber",
  "progress",
  "json",
  "quiet",
  "help",
  "version",
  "webgpu",
  "memory",
];

Deno.test("each option that makes a picture has a scope, or is known to be the run's", () => {
  const unscoped = commands[0].options.filter((name) => optionEntry(name).scope === undefined);
  // An option that is new here decides the picture (scope `picture`) or belongs into the list above.
  assertEquals([...unscoped].sort(), [...OF_A_RUN].sort());
});
