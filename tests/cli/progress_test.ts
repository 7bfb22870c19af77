import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { run } from "../../cli/run.ts";
import { GpuFailedError } from "../../kernels/errors.ts";
import { fakeEnvironment, type FakeWorld } from "./fake_environment.ts";
import { inFolder } from "./temporary_folder.ts";

/** What standard error says of pictures whose steps take half a second. */
async function told(args: readonly string[], world: FakeWorld): Promise<string> {
  const environment = fakeEnvironment(world);
  await run(["cat", ...args], environment);
  return environment.written.stderr;
}

/** What a terminal shows in the end: a carriage return goes back to the beginning of the line. */
function shownLines(text: string): string[] {
  return text.split("\n").map((line) =>
    line.split("\r").reduce((shown, part) => part + shown.slice(part.length), "").trimEnd()
  );
}

Deno.test("on a terminal one line is redrawn for stages and steps, without an escape code", () =>
  inFolder(async (folder) => {
    const stderr = await told(["--steps", "50"], { folder, terminal: true });
    assertEquals(stderr.split("\rStep ").length - 1, 50);
    assertStringIncludes(stderr, "\rStep 20 of 50, 2.00 it/s, 10.0 s passed, 15.0 s left");
    const stages = ["Loading the model", "Reading the prompt", "Step 1 of", "Step 50 of", "Decoding the picture"];
    const places = stages.map((words) => stderr.indexOf(`\r${words}`));
    assertEquals(places, places.filter((place) => place >= 0).toSorted((a, b) => a - b));
    assertEquals(shownLines(stderr).slice(2), ["Drawn in 0.0 s, 2.00 it/s", ""]);
    assert(!stderr.includes("\x1b"));
  }));

Deno.test("elsewhere each tenth of the steps has a line", () =>
  inFolder(async (folder) => {
    for (const world of [{}, { terminal: true, variables: { TERM: "dumb" } }]) {
      const stderr = await told(["--steps", "50"], { folder, ...world });
      assertEquals(stderr.match(/^Step \d+ of 50, .*$/gm)?.length, 10);
      assert(!stderr.includes("\r"));
      const [before, after] = stderr.split("Step 50 of 50, 2.00 it/s, 25.0 s passed, 0.0 s left\n");
      assertStringIncludes(before!, "\nLoading the model\nStep 5 of 50");
      assertEquals(after, "Decoding the picture\nDrawn in 0.0 s, 2.00 it/s\n");
    }
    assertEquals((await told(["--steps", "3"], { folder })).match(/^Step /gm)?.length, 3);
  }));

Deno.test("a line that was being redrawn ends before an error", () =>
  inFolder(async (folder) => {
    let steps = 0;
    const before = (stage: string) => {
      if (stage === "step" && ++steps === 4) throw new GpuFailedError("The GPU was lost");
    };
    const stderr = await told(["--steps", "9"], { folder, terminal: true, before });
    assertEquals(shownLines(stderr).slice(2), [
      "Step 3 of 9, 2.00 it/s, 1.5 s passed, 3.0 s left",
      "denoise: The GPU was lost",
      "",
    ]);
  }));

Deno.test("slow steps are counted in seconds", () =>
  inFolder(async (folder) => {
    const stderr = await told(["--steps", "2"], { folder, stepMilliseconds: 2500 });
    assertStringIncludes(stderr, "Step 1 of 2, 2.50 s/it, 2.5 s passed, 2.5 s left");
  }));

Deno.test("--progress json writes a document for each stage and step of each picture", () =>
  inFolder(async (folder) => {
    const stderr = await told(["--steps", "2", "--count", "2", "--progress", "json"], { folder, terminal: true });
    const documents = stderr.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
    const picture = (number: number) => {
      const common = { schema: 1, type: "progress", picture: number, pictures: 2 };
      return [
        ...(number === 1 ? [{ ...common, stage: "load" }] : []),
        { ...common, stage: "text" },
        { ...common, stage: "denoise", step: 1, steps: 2, milliseconds: 500, passed: 500, left: 500 },
        { ...common, stage: "denoise", step: 2, steps: 2, milliseconds: 500, passed: 1000, left: 0 },
        { ...common, stage: "decode" },
      ];
    };
    assertEquals(documents, [...picture(1), ...picture(2)]);
    assert(!stderr.includes("\r"));
  }));

Deno.test("--progress none and --quiet tell nothing of steps", () =>
  inFolder(async (folder) => {
    for (const terminal of [true, false]) {
      const none = await told(["--progress", "none", "--seed", "1"], { folder, terminal });
      assertEquals(none.split("\n").length, 3, none);
      assertEquals(await told(["--quiet", "--progress", "json"], { folder, terminal }), "");
    }
  }));
