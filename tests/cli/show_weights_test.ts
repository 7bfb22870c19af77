import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { run } from "../../cli/run.ts";
import { storeTensors } from "../weights/safetensors_bytes.ts";
import { fakeEnvironment } from "./fake_environment.ts";
import { withFolder } from "./temporary_folder.ts";

async function show(folder: string, ...args: readonly string[]) {
  const environment = fakeEnvironment({ folder });
  const code = await run(["show", ...args], environment);
  return { code, stages: environment.stages.filter((stage) => stage !== "stdout"), ...environment.written };
}

function write(path: string, names: readonly string[]): void {
  const tensors = names.map((name) => [name, { dtype: "F16", shape: [2, 768], bytes: new Uint8Array(3072) }] as const);
  Deno.writeFileSync(path, storeTensors(new Map([...tensors])));
}

const DOWN = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight";

Deno.test(
  "show says what a weights file is, in words and as JSON",
  withFolder(async (folder) => {
    write(join(folder, "fox.safetensors"), [DOWN]);
    const { code, stdout, stderr, stages } = await show(folder, "fox.safetensors");
    assertEquals([code, stderr, stages], [0, "", []]);
    assertEquals(
      stdout,
      "kind: LoRA\nfamily: SD 1.x\nparts: UNet\nformat: PEFT, LoRA\nrank: 2\nprecision: F16\n" +
        "tensors: 1, 1,536 parameters, 3.1 kB\n",
    );
    assertEquals(JSON.parse((await show(folder, "fox.safetensors", "--json")).stdout), {
      schema: 1,
      path: "fox.safetensors",
      weights: {
        kind: "LoRA",
        family: "SD 1.x",
        parts: ["UNet"],
        format: "PEFT",
        methods: ["LoRA"],
        ranks: [2, 2],
        precision: { F16: 1 },
        tensors: 1,
        parameters: 1536,
        bytes: 3072,
      },
    });
  }),
);

Deno.test(
  "a weights file that says nothing has its exit code, and one of several is told",
  withFolder(async (folder) => {
    write(join(folder, "fox.safetensors"), ["emb_params"]);
    write(join(folder, "odd.safetensors"), ["\x1b[2J", "b"]);
    Deno.writeTextFileSync(join(folder, "old.ckpt"), "");
    for (
      const [names, code, told] of [
        [["odd.safetensors"], 5, "this is no kind of weights that is known: 2 tensors (a text of 4 characters, "],
        [["old.ckpt"], 5, "a Python pickle can run any program when it is opened"],
        [["none.safetensors"], 4, "There is no file"],
        [["odd.safetensors", "fox.safetensors", "old.ckpt"], 5, "this is no kind of weights"],
        [["fox.safetensors", "odd.safetensors", "none.png"], 1, "Cannot read none.png"],
      ] as const
    ) {
      const shown = await show(folder, ...names);
      assertEquals(shown.code, code, `${names}`);
      assertStringIncludes(shown.stderr, told);
      assertEquals(
        shown.stdout.includes("kind: textual inversion\n"),
        names.some((name) => name === "fox.safetensors"),
      );
    }
  }),
);
