import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { GpuFailedError } from "../../kernels/errors.ts";
import { encodePng } from "../../cli/png.ts";
import { run } from "../../cli/run.ts";
import { fakeEnvironment, type FakeWorld } from "./fake_environment.ts";
import { withFolder } from "./temporary_folder.ts";

async function runFake(args: readonly string[], world: FakeWorld = {}) {
  const environment = fakeEnvironment(world);
  const code = await run(args, environment);
  return { code, ...environment.written, stages: environment.stages };
}

const files = (folder: string) => Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();
const grey = encodePng({ width: 64, height: 64, pixels: new Uint8Array(3 * 64 * 64) });

Deno.test(
  "two uses of one file are refused before anything is opened",
  withFolder(async (folder) => {
    Deno.writeFileSync(join(folder, "dog.png"), grey);
    Deno.mkdirSync(join(folder, "sub"));
    Deno.symlinkSync(folder, join(folder, "here"));
    Deno.symlinkSync("dog.png", join(folder, "link.png"));
    const same = (a: string, b: string, name: string) =>
      `denoise: ${a} and ${b} are the same file, ${name}: name another`;
    const init = ["--init-image", "dog.png"];
    const cat = ["cat", "--seed", "1"];
    const batch = ["batch", "-"];
    const cases: readonly (readonly [args: readonly string[], words: string, stdin?: string])[] = [
      [[...cat, "--output", "a.png", "--grid", "a.png"], same("--grid", "Picture 1", "a.png")],
      [[...cat, "--output", "a.png", "--preview", "./sub/../a.png"], same("--preview", "Picture 1", "a.png")],
      [[...cat, "--grid", "a.png", "--preview", "here/a.png"], same("--grid", "--preview", "here/a.png")],
      [[...cat, ...init, "--output", "dog.png"], same("--init-image", "Picture 1", "dog.png")],
      [[...cat, ...init, "--output", "link.png"], same("--init-image", "Picture 1", "link.png")],
      [[...cat, ...init, "--mask", "m.png", "--preview", "m.png"], same("--preview", "--mask", "m.png")],
      [[...cat, ...init, "--grid", "here/dog.png"], same("--grid", "--init-image", "dog.png")],
      [[...cat, "--grid", "cat-1.png"], same("--grid", "Picture 1", "cat-1.png")],
      [[...batch, "--grid", "0002-1-b.png"], same("--grid", "Picture 2 of line 2", "0002-1-b.png"), "a\nb\nc"],
      [[...batch, "--preview", "0003-2-c.png"], same("--preview", "Picture 3 of line 3", "0003-2-c.png"), "a\nb\nc"],
      [
        batch,
        same("--init-image", "Picture 2 of line 2", "x.png"),
        '{"prompt": "a", "init-image": "x.png"}\n{"prompt": "b", "output": "x.png"}',
      ],
      [
        batch,
        "Picture 1 of line 1 and Picture 2 of line 2 would both go to 0001-0-b.png: put {index} or {seed} into",
        'b\n{"prompt": "b", "output": "0001-0-b.png"}',
      ],
      [
        [...batch, "--count", "50"],
        "Picture 7 of line 1 and Picture 51 of line 2 would both go to ./0007-6-b.png",
        'b\n{"prompt": "b", "output": "./0007-6-b.png", "count": 1}',
      ],
      [[...cat, "--count", "3", "--output", "a.png"], "Picture 1 and Picture 2 would both go to a.png: put {index} or"],
      [[...cat, "--grid", "-"], "denoise: --grid goes to a file, and - is standard output: name a file"],
      [[...cat, "--preview", "-"], "denoise: --preview goes to a file, and - is standard output: name a file"],
      [[...cat, "--output", "sub/"], "denoise: --output sub/ names a folder: put a file name after it"],
      [[...cat, "--grid", "new/"], "denoise: --grid new/ names a folder"],
      [batch, "denoise: Line 1: --output {slug}/ names a folder", '{"prompt": "a", "output": "{slug}/"}'],
      [batch, "denoise: Line 1: --output has the character 0", '{"prompt": "a", "output": "a\\u0000i"}'],
    ];
    const before = files(folder);
    for (const [args, words, stdin] of cases) {
      const { code, stderr, stages } = await runFake(args, { folder, ...(stdin !== undefined && { stdin }) });
      assertEquals([code, stages], [2, []], `${args.join(" ")}: ${stderr}`);
      assertStringIncludes(stderr, words);
    }
    assertEquals(files(folder), before);
    const shared =
      '{"prompt": "a", "init-image": "dog.png"}\n{"prompt": "b", "init-image": "./dog.png", "mask": "dog.png"}';
    assertEquals((await runFake(batch, { folder, stdin: shared })).code, 0);
  }),
);

Deno.test(
  "a number after a taken name leads to no file that the run writes as something else",
  withFolder(async (folder) => {
    Deno.writeFileSync(join(folder, "cat-1.png"), grey);
    const args = ["cat", "--seed", "1", "--grid", "cat-1-2.png", "--preview", "./cat-1-3.png"];
    const { code, stdout, stderr } = await runFake(args, { folder });
    assertEquals([code, stdout], [0, "cat-1-4.png\n"], stderr);
    assertStringIncludes(stderr, "Contact sheet of 1 picture: cat-1-2.png\n");
  }),
);

Deno.test(
  "a line whose picture cannot be written fails alone, for its own reason",
  withFolder(async (folder) => {
    Deno.mkdirSync(join(folder, "taken"));
    const stdin = ["taken", "x".repeat(300), "nowhere/a.png", "good.png"]
      .map((output) => JSON.stringify({ prompt: "cat", output })).join("\n");
    const { code, stdout, stages } = await runFake(["batch", "-", "--continue-on-error"], { folder, stdin });
    const [first, second, third, last] = stdout.trimEnd().split("\n");
    assertEquals([code, last], [8, "good.png"]);
    const messages = [first, second, third].map((line) => JSON.parse(line!).error.message);
    ["taken: it is a folder", "its name has 300 bytes", `there is no folder ${folder}/nowhere`]
      .forEach((words, i) => assertStringIncludes(messages[i], words));
    assertEquals(stages.filter((stage) => stage === "step").length, 10);
  }),
);

Deno.test(
  "a preview that cannot be written costs one warning, and neither the picture nor the batch",
  withFolder(async (folder) => {
    let drawn = 0;
    const before = (stage: string) => {
      // In place of the file, from the second picture on.
      if (stage !== "step" || ++drawn !== 11) return;
      Deno.removeSync(join(folder, "p.png"));
      Deno.mkdirSync(join(folder, "p.png"));
    };
    const args = ["batch", "-", "--preview", "p.png", "--preview-every", "1"];
    const { code, stdout, stderr } = await runFake(args, { folder, stdin: "a\nb\nc", before });
    assertEquals([code, stdout.split("\n").length], [0, 4], stderr);
    assertEquals(stderr.split("There is no new preview: Cannot write").length, 2, stderr);
  }),
);

Deno.test(
  "--no-clobber replaces nothing: what is there is refused before drawing, what comes in between is kept",
  withFolder(async (folder) => {
    const write = (name: string) => Deno.writeTextFileSync(join(folder, name), "kept");
    write("a.png");
    const keep = ["cat", "--no-clobber", "--seed", "1", "--steps", "1"];
    const refusals = [["--output", "a.png"], ["--grid", "a.png"], ["--preview", "a.png"], [
      "--output",
      "a.png",
      "--count",
      "1",
    ]];
    for (const args of refusals) {
      const { code, stderr, stages } = await runFake([...keep, ...args], { folder });
      assertEquals([code, stages], [2, []], stderr);
      assertStringIncludes(stderr, "a.png: it is there already, and --no-clobber keeps it");
    }
    for (
      const [args, name] of [[["--output", "b.png"], "b.png"], [
        ["--output", "o.png", "--grid", "c.png"],
        "c.png",
      ]] as const
    ) {
      const before = (stage: string) => stage === "step" && write(name);
      const { code, stderr } = await runFake([...keep, ...args], { folder, before });
      assertEquals(code, 8);
      assertStringIncludes(stderr, `Cannot write ${name}: it is there already`);
      assertEquals(Deno.readTextFileSync(join(folder, name)), "kept");
    }
    const fresh = ["--output", "d.png", "--preview", "p.png", "--preview-every", "1"];
    const drawn = await runFake(["cat", "--no-clobber", "--steps", "3", ...fresh], { folder });
    assertEquals(drawn.code, 0, drawn.stderr);
    write("s2.png");
    const second = await runFake(["cat", "--no-clobber", "--seed", "1", "--count", "2", "--output", "s{seed}.png"], {
      folder,
    });
    assertEquals([second.code, second.stages], [2, []], second.stderr);
    // A new name gets a number as ever, and what is skipped is not in the way.
    write("cat-1.png");
    assertEquals((await runFake(keep, { folder })).stdout, "cat-1-2.png\n");
    assertEquals((await runFake([...keep, "--output", "a.png", "--skip-existing"], { folder })).code, 0);
    const later = await runFake(["batch", "-", "--no-clobber", "--continue-on-error", "--output", "{slug}.png"], {
      folder,
      stdin: "e\na\nf",
    });
    assertEquals([later.code, files(folder).includes("f.png")], [2, true]);
    assertEquals(Deno.readTextFileSync(join(folder, "a.png")), "kept");
  }),
);

Deno.test(
  "the first picture of 100,000 lines waits for a hundred requests, that of 30 million for no more",
  withFolder(async (folder) => {
    const lines = Array.from(
      { length: 100_000 },
      (_, i) => i % 2 ? `{"prompt": "cat ${i}", "steps": 1}` : `a dog ${i}`,
    );
    const many = Array.from({ length: 300 }, (_, i) => `{"prompt": "cat ${i}", "count": 100000}`);
    for (
      const [batch, args, pictures, completed] of [
        [lines, [], 100_000, 100],
        [lines, ["--continue-on-error"], 100_000, 100],
        [lines, ["--output", "{slug}.png"], 100_000, 100],
        [many, [], 30_000_000, 100],
        [many, ["--output", "{seed}.png"], 30_000_000, 100],
        [["cat"], ["--count", "100000"], 100_000, 1],
      ] as const
    ) {
      const before = (stage: string) => {
        if (stage === "openGpu") throw new GpuFailedError("Enough");
      };
      const { code, stderr, stages } = await runFake(["batch", "-", ...args], {
        folder,
        stdin: batch.join("\n"),
        before,
      });
      assertEquals(code, 7, stderr.slice(0, 500));
      assertStringIncludes(stderr, `Picture 1 of ${pictures}, seed 0: `);
      assertEquals(stages, ["openModel", ...Array(completed).fill("complete"), "openGpu"]);
    }
  }),
);

Deno.test("a contact sheet of more pictures than fit is refused before their sizes are known", async () => {
  const { code, stderr, stages } = await runFake(["cat", "--count", "100000", "--grid", "sheet.png"], {
    folder: "/tmp",
  });
  assertEquals([code, stages], [2, ["openModel", "complete"]]);
  assertStringIncludes(stderr, "--grid: a contact sheet holds at most 25890 pictures, and the run makes 100000");
});
