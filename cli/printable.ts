/**
 * Foreign text on a terminal.
 * @module
 */

/** The text without what could steer a terminal: control characters other than line ends become U+FFFD. */
export function printable(text: string): string {
  return text.replaceAll(/[^\P{Cc}\n]/gu, "\ufffd");
}
