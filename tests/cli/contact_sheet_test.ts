import { assertEquals, assertThrows } from "@std/assert";
import { checkSheet, composeSheet } from "../../cli/contact_sheet.ts";
import { UsageError } from "../../cli/errors.ts";

function flat(width: number, height: number, value: number) {
  return { width, height, pixels: new Uint8Array(width * height * 3).fill(value) };
}

Deno.test("a sheet is near square, keeps every pixel and is white elsewhere", () => {
  for (const [count, columns, rows] of [[1, 1, 1], [2, 2, 1], [3, 2, 2], [5, 3, 2], [9, 3, 3], [10, 4, 3]] as const) {
    const images = Array.from({ length: count }, (_, index) => flat(index === 0 ? 2 : 3, 4, 10 + index));
    const { width, height, pixels } = composeSheet(images);
    const cell = count === 1 ? 2 : 3;
    assertEquals([width, height], [columns * (cell + 8) + 8, rows * (4 + 8) + 8]);
    const at = (x: number, y: number) => [...pixels.subarray((y * width + x) * 3, (y * width + x) * 3 + 3)];
    for (const [index, image] of images.entries()) {
      const left = 8 + (index % columns) * (cell + 8);
      const top = 8 + Math.floor(index / columns) * 12;
      const value = 10 + index;
      assertEquals(at(left, top), [value, value, value]);
      assertEquals(at(left + image.width - 1, top + 3), [value, value, value]);
      assertEquals([at(left - 1, top), at(left + image.width, top), at(left, top + 4)].flat(), Array(9).fill(255));
    }
    const drawn = images.reduce((sum, image) => sum + image.pixels.length, 0);
    assertEquals(pixels.filter((value) => value !== 255).length, drawn);
  }
});

Deno.test("a sheet that would take gigabytes is refused", () => {
  const sizes = (count: number) => Array.from({ length: count }, () => ({ width: 1024, height: 1024 }));
  checkSheet(sizes(100));
  assertThrows(() => checkSheet(sizes(144)), UsageError, "contact sheet of 144 pictures");
});
