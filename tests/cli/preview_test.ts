import { assertEquals, assertStringIncludes } from "@std/assert";
import { decodePng } from "../../cli/png.ts";
import { run } from "../../cli/run.ts";
import { exists } from "../../cli/files.ts";
import { fakeEnvironment, type Stage } from "./fake_environment.ts";
import { inFolder } from "./temporary_folder.ts";

const ARGS = ["cat", "--seed", "1", "--steps", "8"];

Deno.test("--preview is written every few steps, as large as the picture, and changes nothing else", () =>
  inFolder(async (folder) => {
    const file = `${folder}/preview.png`;
    const reds: number[] = [];
    const before = (stage: Stage) => {
      if (stage === "step") reds.push(exists(file) ? decodePng(Deno.readFileSync(file)).pixels[0]! : 0);
    };
    const environment = fakeEnvironment({ folder, before });
    assertEquals(await run([...ARGS, "--preview", "preview.png", "--preview-every", "3"], environment), 0);
    assertEquals(environment.written.stdout, "cat-1.png\n");
    assertEquals(reds, [0, 0, 0, 3, 3, 3, 6, 6]);
    const { width, height, pixels } = decodePng(Deno.readFileSync(file));
    assertEquals([width, height, pixels[0]], [64, 72, 8]);
    await run([...ARGS, "--output", "plain.png"], fakeEnvironment({ folder }));
    assertEquals(Deno.readFileSync(`${folder}/plain.png`), Deno.readFileSync(`${folder}/cat-1.png`));
  }));

Deno.test("--preview-vae needs --preview, and a VAE that is there, before the GPU is opened", () =>
  inFolder(async (folder) => {
    for (
      const [preview, code, words, stages] of [
        [[], 2, "denoise: --preview-vae requires --preview, the file that it decodes previews for\n", []],
        [["--preview", "a.png"], 4, "denoise: There is no folder or file /nowhere/vae with a VAE\n", ["openModel"]],
      ] as const
    ) {
      const environment = fakeEnvironment({ folder });
      assertEquals(await run([...ARGS, ...preview, "--preview-vae", "/nowhere/vae"], environment), code);
      assertEquals([environment.written.stderr, environment.stages], [words, stages]);
    }
  }));

Deno.test("a preview that cannot be written is refused before the model is opened", () =>
  inFolder(async (folder) => {
    const environment = fakeEnvironment({ folder });
    assertEquals(await run([...ARGS, "--preview", "nowhere/preview.png"], environment), 8);
    assertStringIncludes(environment.written.stderr, "Cannot write");
    assertEquals(environment.stages, []);
  }));
