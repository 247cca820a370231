// Reads the input of a Node program, and reports the result of each step as a line of JSON on standard output. The Go test
// that started the program turns each line into a subtest.
import { text } from 'node:stream/consumers';

export const input = JSON.parse(await text(process.stdin));

const printLine = (line) => process.stdout.write(JSON.stringify(line) + '\n');

/** Runs one step. If it throws, the step has failed for that reason, and the next steps still run. */
export async function step(name, run) {
  const begun = Date.now();
  const notes = [];
  try {
    await run((note) => notes.push(String(note)));
    printLine({ step: name, notes, seconds: (Date.now() - begun) / 1000 });
  } catch (error) {
    printLine({ step: name, notes, seconds: (Date.now() - begun) / 1000, failure: error.stack ?? String(error) });
  }
}

/** Fails with both values unless they are alike. */
export function expect(what, got, want) {
  if (JSON.stringify(got) !== JSON.stringify(want)) {
    throw new Error(`${what}: ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
  }
}
