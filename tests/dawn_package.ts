/**
 * Dawn's package, for tests that need it: in the folder that `DENOISE_DAWN` names, or where the program keeps it. Tests
 * download nothing; `deno run -A tests/dawn_package.ts` does, and prints the folder.
 * @module
 */
import { fetchDawn, findDawn } from "../cli/dawn.ts";
import { systemEnvironment } from "../cli/environment.ts";

/** Defines a test that is given the folder; where there is none its name says so, and it is left out. */
export function testDawn(name: string, test: (folder: string, t: Deno.TestContext) => Promise<void>): void {
  const { folder = "", there = false } = findDawn(Deno.env.get) ?? {};
  Deno.test({
    name: there ? name : `${name}: not tested here, where Dawn's package is not`,
    ignore: !there,
    fn: (t) => test(folder, t),
  });
}

if (import.meta.main) {
  const folder = await fetchDawn(systemEnvironment());
  await new Blob([`${folder}\n`]).stream().pipeTo(Deno.stdout.writable);
}
