import { assertEquals } from "@std/assert";
import { showBytes } from "../../cli/byte_count.ts";
import { createDownloadProgress } from "../../cli/download_progress.ts";
import { fakeEnvironment } from "./fake_environment.ts";

Deno.test("bytes are shown with two or three digits", () => {
  const shown = [0, 1, 999, 1000, 45_400_000, 2_132_000_000, 9_960_000, 2e15].map(showBytes);
  assertEquals(shown, ["0 bytes", "1 byte", "999 bytes", "1.0 kB", "45 MB", "2.1 GB", "10 MB", "2000 TB"]);
});

Deno.test("a line per tenth where nobody looks; what was there does not count as fast", () => {
  const environment = fakeEnvironment();
  let time = 0;
  const progress = createDownloadProgress(environment, () => time);
  for (let bytes = 500; bytes <= 1000; bytes += 25) {
    progress.update(bytes * 1e6, 1e9);
    time += 1000;
  }
  progress.breakLine();
  assertEquals(environment.written.stderr.split("\n"), [
    "500 MB of 1.0 GB, 50 %",
    "600 MB of 1.0 GB, 60 %, 25 MB a second",
    "700 MB of 1.0 GB, 70 %, 25 MB a second",
    "800 MB of 1.0 GB, 80 %, 25 MB a second",
    "900 MB of 1.0 GB, 90 %, 25 MB a second",
    "1.0 GB of 1.0 GB, 100 %, 25 MB a second",
    "",
  ]);
});

Deno.test("on a terminal one line is redrawn, and ends before another", () => {
  const environment = fakeEnvironment({ terminal: true });
  let time = 0;
  const progress = createDownloadProgress(environment, () => time);
  progress.update(100, 1000);
  progress.update(102, 1000);
  time += 100;
  progress.update(101, 1000);
  progress.breakLine();
  progress.breakLine();
  progress.update(1000, 1000);
  progress.breakLine();
  const line = (text: string) => `\r${text}`;
  const [first, second] = ["100 bytes of 1.0 kB, 10 %", "101 bytes of 1.0 kB, 10 %"].map(line);
  assertEquals(environment.written.stderr, `${first}${second}\n${line("1.0 kB of 1.0 kB, 100 %")}\n`);
});
