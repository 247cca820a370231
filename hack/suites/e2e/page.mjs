// Uses every function of the page in a real browser.
import { browser, curl, curlUntil, look, open, rulesChecked, signIn, signInElsewhere, version, wrong } from './browser.mjs';
import { forgeries } from './forgery.mjs';
import { expect, input, step as plainStep } from './steps.mjs';

/** A step after which nothing went wrong behind the scenes either. */
const step = (name, run) => plainStep(name, async (note) => {
  wrong.length = 0;
  await run(note);
  expect('what went wrong on the page', wrong, []);
});

const user = 'bob';
const password = 'bobs password';
const page = await open();
const dialog = page.locator('dialog');
let token;

const rows = () => page.locator('tbody tr').count();
const shown = () => page.locator('#token').textContent();
/** What the page contains, once it does not change any more. */
const settled = async (of) => {
  for (let tries = 0; ; tries++) {
    await of.waitForLoadState();
    try {
      return await of.content();
    } catch (error) {
      if (tries > 20) throw error;
    }
  }
};
const backToList = () => page.getByRole('link', { name: 'I have copied it' }).click();

await step('who is not signed in comes to the login of the product, and from there to the page', async (note) => {
  note(version);
  await signIn(page, user, password);
  expect('heading', await page.locator('h1').textContent(), 'API tokens');
});

await step('without tokens, the page says what they are for', async () => {
  await page.getByText('You have no API tokens yet').waitFor();
  await look(page, 'empty');
});

await step('the form to create one asks for consent, the first time', async () => {
  await page.getByRole('link', { name: 'Create API token' }).click();
  await dialog.getByText('Your consent').waitFor();
  await look(page, 'create');
});

await step('what is missing is said beside it, and read out', async () => {
  await page.evaluate(() => { document.querySelector('dialog form').noValidate = true; });
  await dialog.getByRole('button', { name: 'Create' }).click();
  await dialog.getByRole('alert').waitFor();
  expect('marked fields', await dialog.locator('[aria-invalid=true]').evaluateAll((all) => all.map((e) => e.id)), ['label', 'consent']);
  await look(page, 'create-wrong');
});

await step('create: the token is shown once', async () => {
  await dialog.getByLabel('Label').fill('CI scripts');
  await dialog.getByLabel('Lifetime').selectOption({ index: 1 });
  await dialog.getByRole('checkbox').check();
  await dialog.getByRole('button', { name: 'Create' }).click();
  await page.getByText('you will not see it again').waitFor();
  token = await shown();
  if (!/^asp_[0-9A-Za-z]{16}_[0-9A-Za-z]{46}$/.test(token)) throw new Error(`not a token: ${token.length} characters`);
  await look(page, 'made');
});

await step('the copy button copies it', async () => {
  await page.locator('[data-copy=token]').click();
  await page.getByRole('status').getByText('Copied').waitFor();
  expect('clipboard', await page.evaluate(() => navigator.clipboard.readText()), token);
  await page.locator('[data-copy=command]').click();
  const command = await page.evaluate(() => navigator.clipboard.readText());
  if (!command.startsWith('curl --user bob ') || command.includes(token)) throw new Error('the command is not one of curl without the token');
});

await step('curl with it is the user', async () => curlUntil(user, token, 200));

await step('neither reload nor Back shows it again', async (note) => {
  const address = page.url();
  expect('the token is in the address', address.includes('asp_'), false);
  await page.reload();
  expect('after reload', (await page.content()).includes(token), false);
  await page.goto(input.page);
  expect('in the list', (await page.content()).includes(token), false);
  // The browser does not show the answer to a form again: it shows an error of its own.
  const refused = await page.goBack().catch((error) => error.message);
  note(`Back: ${refused}`);
  expect('after Back', (await settled(page)).includes(token), false);
  await page.goto(input.page);
  expect('tokens', await rows(), 1); // the reload created no second token
});

await step('the list', async () => {
  await page.getByText('CI scripts').waitFor();
  await look(page, 'list');
});

await step('a page that is still open does nothing once somebody else has signed in', async () => {
  await page.getByRole('link', { name: 'Revoke CI scripts' }).click();
  await signInElsewhere(page, 'carol', 'carols password');
  await dialog.getByRole('button', { name: 'Revoke' }).click();
  await page.getByText('You are signed in as carol now, and this page was made for another user. Nothing was done.').waitFor();
  await look(page, 'another-user');
  await signInElsewhere(page, user, password);
  await page.getByRole('link', { name: 'Go to your API tokens' }).click();
  await page.getByText('CI scripts').waitFor();
  await curlUntil(user, token, 200);
});

await step('rotate: a new secret, and the one before it ends', async () => {
  await page.getByRole('link', { name: 'Rotate CI scripts' }).click();
  await look(page, 'rotate');
  await dialog.getByRole('combobox').selectOption('0');
  await dialog.getByRole('button', { name: 'Rotate' }).click();
  await page.getByText('you will not see it again').waitFor();
  const before = token;
  token = await shown();
  await look(page, 'rotated');
  await backToList();
  await curlUntil(user, token, 200);
  await curlUntil(user, before, 401);
});

await step('revoke: the token is dead', async () => {
  await page.getByRole('link', { name: 'Revoke CI scripts' }).click();
  await look(page, 'revoke');
  await dialog.getByRole('button', { name: 'Revoke' }).click();
  await page.getByRole('status').waitFor();
  await look(page, 'revoked');
  await curlUntil(user, token, 401);
});

const hostile = [
  '<script>alert("label")</script>', '"><img src=x onerror=alert(1)>', "' onmouseover='alert(2)", 'javascript:alert(3)', '</span></th><h1>not a heading</h1>',
  '{{.Token.Label}} ${alert(4)} &lt;b&gt;', 'بناء الحزمة الليلية (abc) 123', 'סקריפט לילי', '🔑 CI 👩‍💻 🏳️‍🌈', 'x'.repeat(255), 'a label that is long '.repeat(12).trim(),
];

/** Makes a token over REST, with the session of the browser. */
async function make(label) {
  const cookies = (await page.context().cookies()).map((c) => `${c.name}=${c.value}`).join('; ');
  const made = await fetch(`${input.url}/rest/api-tokens/latest/`, {
    method: 'POST', headers: { Cookie: cookies, 'Content-Type': 'application/json' }, body: JSON.stringify({ label }),
  });
  expect(`making "${label.slice(0, 40)}"`, made.status, 201);
  return (await made.json()).token;
}

await step('labels are text, whatever they contain', async () => {
  for (const label of hostile) await make(label);
  await page.goto(input.page);
  const labels = await page.locator('tbody .label').allTextContents();
  for (const label of hostile) {
    if (!labels.includes(label)) throw new Error(`not shown as it is: ${label}`);
  }
  expect('elements that a label made', await page.locator('main img, main script, main th h1').count(), 0);
  await page.locator('tbody .label').first().hover();
  await look(page, 'labels');
  for (const id of await page.locator('tbody a[id^=revoke-]').evaluateAll((all) => all.map((a) => a.id))) {
    await page.goto(`${input.page}?dialog=revoke&id=${id.slice('revoke-'.length)}`);
    await dialog.locator('.label').waitFor();
  }
  await look(page, 'revoke-long');
});

/** Presses Tab until something of this name has the focus. */
async function tabTo(name, key = 'Tab') {
  for (let i = 0; i < 80; i++) {
    const focused = await page.evaluate(() => {
      const e = document.activeElement;
      const named = (e?.getAttribute('aria-labelledby') ?? '').split(' ').map((id) => document.getElementById(id)?.textContent ?? '').join(' ').trim();
      return named || e?.textContent?.trim() || e?.labels?.[0]?.textContent || '';
    });
    if (focused === name) return;
    await page.keyboard.press(key);
  }
  throw new Error(`Tab never leads to "${name}"`);
}

await step('with the keyboard alone: create', async () => {
  await page.goto(input.page);
  await tabTo('Create API token');
  await page.keyboard.press('Enter');
  await page.locator('dialog:modal').waitFor(); // the script has moved the focus then
  expect('the focus is on', await page.evaluate(() => document.activeElement.id), 'label');
  await page.keyboard.type('typed');
  await page.keyboard.press('Enter');
  await page.getByText('you will not see it again').waitFor();
  token = await shown();
  await tabTo('Copy');
  await page.keyboard.press('Enter');
  await page.getByRole('status').getByText('Copied').waitFor();
  expect('clipboard', await page.evaluate(() => navigator.clipboard.readText()), token);
  await tabTo('I have copied it');
  await page.keyboard.press('Enter');
  await page.waitForURL(input.page);
});

await step('with the keyboard alone: Escape closes a dialog, and the focus does not leave it before', async () => {
  await tabTo('Create API token');
  await page.keyboard.press('Enter');
  await page.locator('dialog:modal').waitFor(); // the script has moved the focus then
  for (let i = 0; i < 20; i++) {
    await page.keyboard.press('Tab');
    const outside = await page.evaluate(() => !document.activeElement.closest('dialog') && document.activeElement !== document.body);
    expect('the focus is behind the dialog', outside, false);
  }
  await page.keyboard.press('Escape');
  await page.waitForURL(input.page);
  expect('dialogs', await dialog.count(), 0);
});

await step('with the keyboard alone: revoke', async () => {
  const before = await rows();
  await tabTo('Revoke typed');
  await page.keyboard.press('Enter');
  await page.locator('dialog:modal').waitFor(); // the script has moved the focus then
  expect('the focus is on', await page.evaluate(() => document.activeElement.textContent), 'Cancel');
  await tabTo('Revoke', 'Shift+Tab');
  await page.keyboard.press('Enter');
  await page.getByRole('status').waitFor();
  expect('tokens', await rows(), before - 1);
  await curlUntil(user, token, 401);
});

await step('revoke all asks first', async () => {
  token = await make('one more');
  await page.goto(input.page);
  const before = await rows();
  await page.getByRole('link', { name: 'Revoke all' }).click();
  await look(page, 'revoke-all');
  await dialog.getByRole('link', { name: 'Cancel' }).click();
  expect('tokens', await rows(), before);
  await curlUntil(user, token, 200);
  await page.getByRole('link', { name: 'Revoke all' }).click();
  await dialog.getByRole('button', { name: `Revoke all ${before}` }).click();
  await page.getByText('You have no API tokens yet').waitFor();
  await curlUntil(user, token, 401);
});

await step('a personal access token can be pasted, and is not shown again', async () => {
  await page.goto(`${input.page}?dialog=paste`);
  await look(page, 'paste');
  await dialog.getByLabel('Personal access token').fill('bm90LWEtcGVyc29uYWwtYWNjZXNzLXRva2VuLWF0LWFsbA==');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await dialog.getByRole('alert').waitFor();
  expect('what was typed is in the page', (await page.content()).includes('bm90LWEt'), false);
});

await step('without JavaScript: create and revoke', async () => {
  const state = await page.context().storageState();
  const plain = await open({ javaScriptEnabled: false, storageState: state });
  await plain.goto(input.page);
  await plain.getByRole('link', { name: 'Create API token' }).click();
  await plain.getByLabel('Label').fill('without JavaScript');
  await plain.getByRole('button', { name: 'Create' }).click();
  const made = await plain.locator('#token').textContent();
  expect('copy buttons', await plain.locator('[data-copy]:visible').count(), 0);
  await curlUntil(user, made, 200);
  await plain.getByRole('link', { name: 'I have copied it' }).click();
  await plain.getByRole('link', { name: 'Revoke without JavaScript' }).click();
  await plain.locator('dialog').getByRole('button', { name: 'Revoke' }).click();
  await plain.getByText('You have no API tokens yet').waitFor();
  await curlUntil(user, made, 401);
  await plain.context().close();
});

await step('nobody finds a page where there is none', async () => {
  await page.goto(`${input.page}?dialog=revoke&id=asp_0000000000000000`);
  await page.getByText('You have no API token with this id').waitFor();
  await look(page, 'not-found');
});

token = await make('to be attacked');
await forgeries(plainStep, page, token);
await plainStep('after all that, the token works and there is no other', async () => {
  await page.goto(input.page);
  expect('labels', await page.locator('tbody .label').allTextContents(), ['to be attacked']);
  expect('curl', await curl(user, token), 200);
});

await step('signed out, the page asks to sign in', async () => {
  await page.context().clearCookies();
  await page.goto(`${input.page}?dialog=create`);
  expect('where it leads', new URL(page.url()).pathname, input.login);
});

await plainStep('the rules of axe', async (note) => {
  note(`${rulesChecked} checks passed`);
  if (rulesChecked < 500) throw new Error(`only ${rulesChecked} checks`);
});
await browser.close();
