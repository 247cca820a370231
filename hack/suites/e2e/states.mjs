// Checks the page in a state that the Go test has prepared.
import { browser, curlUntil, look, open, signIn } from './browser.mjs';
import { expect, input, step } from './steps.mjs';

const page = await open();
const dialog = page.locator('dialog');

/** Creates a token in the dialog, consenting if that is asked for. */
async function create(label, asksForConsent) {
  await page.getByRole('link', { name: 'Create API token' }).click();
  await dialog.getByLabel('Label').fill(label);
  expect('asks for consent', await dialog.getByRole('checkbox').count() > 0, asksForConsent);
  if (asksForConsent) await dialog.getByRole('checkbox').check();
  await dialog.getByRole('button', { name: 'Create' }).click();
  await page.getByText('you will not see it again').waitFor();
  const token = await page.locator('#token').textContent();
  await page.getByRole('link', { name: 'I have copied it' }).click();
  return token;
}

async function revoke(label) {
  await page.getByRole('link', { name: `Revoke ${label}` }).click();
  await dialog.getByRole('button', { name: 'Revoke' }).click();
  await page.getByRole('status').waitFor();
}

const states = {
  'of the other product': async () => {
    const token = await create('made in Confluence', input.consent);
    await curlUntil(input.user, token, 200);
    await look(page, 'confluence');
    await revoke('made in Confluence');
    await curlUntil(input.user, token, 401);
  },
  'enrolment ended': async () => {
    await page.getByText('Your API tokens do not work.').waitFor();
    await look(page, 'ended');
    const token = await create('enrols again', true);
    await curlUntil(input.user, token, 200);
    await curlUntil(input.user, input.token, 200);
    expect('still told', await page.getByText('Your API tokens do not work.').count(), 0);
  },
  'tokens that made tokens': async () => {
    await page.getByText('Created with').first().waitFor();
    await page.getByText('2 older secrets work until').waitFor();
    await look(page, 'descendants');
    await page.getByRole('link', { name: 'Revoke parent' }).click();
    await dialog.getByText('2 other API tokens were created with it').waitFor();
    await page.evaluate(() => { document.querySelector('dialog form').noValidate = true; });
    await dialog.getByRole('button', { name: 'Revoke' }).click();
    await dialog.getByRole('alert').waitFor();
    await look(page, 'revoke-descendants');
    await dialog.getByLabel('Revoke those too').check();
    await dialog.getByRole('button', { name: 'Revoke' }).click();
    await page.getByRole('status').waitFor();
    for (const token of input.tokens) await curlUntil(input.user, token, 401);
  },
  'an epoch ahead': async () => {
    await page.getByText('has ended all API tokens').waitFor();
    expect('buttons that make something', await page.getByRole('link', { name: /Create|Rotate/ }).count(), 0);
    await look(page, 'epoch-ahead');
  },
  blocked: async () => {
    await page.getByText('You are blocked here').waitFor();
    expect('buttons that make something', await page.getByRole('link', { name: /Create|Rotate/ }).count(), 0);
    await look(page, 'blocked');
    await curlUntil(input.user, input.token, 401);
    await revoke('of a blocked user');
    await look(page, 'blocked-empty');
  },
  unlicensed: async () => {
    await page.getByText('their licence is missing').waitFor();
    await look(page, 'unlicensed');
    const token = await create('made without a licence', false);
    await curlUntil(input.user, token, 403);
    await revoke('made without a licence');
  },
};

await step(`${input.product}: ${input.state}`, async () => {
  await signIn(page, input.user, input.password);
  await states[input.state]();
});
await browser.close();
