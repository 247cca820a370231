// Uses the block of API tokens in the profile of a product. The page input.page is the profile.
import { browser, curlUntil, look, open, rulesChecked, signIn, signInElsewhere, wrong } from './browser.mjs';
import { expect, input, step as plainStep } from './steps.mjs';

const step = (name, run) => plainStep(`${input.product}: ${name}`, async (note) => {
  wrong.length = 0;
  await run(note);
  expect('what went wrong on the page', wrong, []);
});

const page = await open();
const block = page.locator('#api-tokens');
const dialog = block.locator('dialog');
const api = '**/rest/api-tokens/**';
const script = `${input.url}/plugins/servlet/api-tokens/static/profile.js`;

/** The products say on <html> which theme a user has chosen; the browser's setting does not count. */
const theme = (mode) => page.evaluate((to) => document.documentElement.setAttribute('data-color-mode', to), mode);
/** Takes pictures. The block looks alike in both products: Confluence's has pictures of the list only. */
const see = async (name) => {
  if (input.product === 'Jira' || name === 'list') await look(page, `profile-${input.product.toLowerCase()}-${name}`, theme);
};
const tokens = () => block.locator('.at-list li').count();
const settle = () => page.waitForLoadState('networkidle');

async function create(label) {
  await block.getByRole('button', { name: 'Create API token' }).click();
  await dialog.getByLabel('Label').fill(label);
  if (await dialog.getByRole('checkbox').count()) await dialog.getByRole('checkbox').check();
  await dialog.getByRole('button', { name: 'Create' }).click();
  await block.getByText('you will not see it again').waitFor();
  return block.locator('.at-token').textContent();
}

/** Opens the profile while something is in the way, and expects that it is as if there were no block. */
async function silent(what, prepare) {
  await prepare();
  await page.goto(input.page);
  await settle();
  expect(`${what}: blocks`, await block.count(), 0);
  await page.unrouteAll();
}

const states = {
  whole: async () => {
    await step('without tokens, the block says what they are for', async () => {
      await block.getByText('You have no API tokens yet').waitFor();
      expect('behind the fragment of the product', await block.evaluate((e) => e.previousElementSibling.id || e.previousElementSibling.getAttribute('name')), input.behind);
      await see('empty');
    });

    let token;
    await step('the first token asks for consent', async () => {
      await block.getByRole('button', { name: 'Create API token' }).click();
      await dialog.getByText('may act with a personal access token of mine').waitFor();
      await see('create');
      await dialog.getByRole('button', { name: 'Cancel' }).click();
      await dialog.waitFor({ state: 'detached' });
      token = await create('CI scripts');
      if (!/^asp_[0-9A-Za-z]{16}_[0-9A-Za-z]{46}$/.test(token)) throw new Error(`not a token: ${token.length} characters`);
      await see('created');
      await curlUntil(input.user, token, 200);
    });

    await step('it is copied, and shown once', async () => {
      await block.getByRole('button', { name: 'Copy', exact: true }).click();
      await block.getByText('Copied.').waitFor();
      expect('clipboard', await page.evaluate(() => navigator.clipboard.readText()), token);
      await block.getByRole('button', { name: 'I have copied it' }).click();
      expect('the page has it', (await page.content()).includes(token), false);
      const again = await create('left open');
      await page.goto(`${input.url}${input.elsewhere}`);
      await page.goBack();
      await block.getByText('CI scripts').waitFor();
      expect('Back shows it', (await page.content()).includes(again), false);
    });

    await step('labels are text', async () => {
      await create('<img src=x onerror=alert(1)><script>alert(2)</script>');
      await page.reload();
      await block.getByText('<img src=x').waitFor();
      expect('elements that a label made', await block.locator('img, script').count(), 0);
      expect('tokens', await tokens(), 3);
      await see('list');
    });

    await step('a refusal is told in the dialog, in the words of the API', async () => {
      await block.getByRole('button', { name: 'Create API token' }).click();
      await page.evaluate(() => { document.querySelector('#api-tokens form').noValidate = true; });
      await dialog.getByRole('button', { name: 'Create' }).click();
      await dialog.getByRole('alert').getByText('label').waitFor();
      await dialog.getByRole('button', { name: 'Cancel' }).click();
      await dialog.waitFor({ state: 'detached' });
    });

    await step('revoke: the token is dead', async () => {
      await block.getByRole('button', { name: 'Revoke CI scripts' }).click();
      await see('revoke');
      await dialog.getByRole('button', { name: 'Revoke' }).click();
      await block.getByText('It no longer works.').waitFor();
      await curlUntil(input.user, token, 401);
      expect('tokens', await tokens(), 2);
    });

    await step('the block survives that the product draws the tab again', async () => {
      await page.evaluate(() => { const main = document.querySelector('main'); main.replaceChildren(...main.cloneNode(true).children); document.querySelector('#api-tokens')?.remove(); });
      await block.getByText('left open').waitFor();
      expect('blocks', await block.count(), 1);
      await block.getByRole('button', { name: 'Revoke API tokens' }).click();
      await dialog.getByRole('button', { name: 'Cancel' }).click();
      await dialog.waitFor({ state: 'detached' });
    });

    await step('once somebody else has signed in, it does nothing as them, and shows nothing of theirs', async () => {
      await page.goto(input.page);
      await block.getByText('left open').waitFor();
      await signInElsewhere(page, 'carol', 'carols password');
      const refused = dialog.getByRole('alert').getByText('You are signed in as carol now, and this page was made for another user.');
      await block.getByRole('button', { name: 'Create API token' }).click();
      await dialog.getByLabel('Label').fill('made as somebody else');
      await dialog.getByRole('button', { name: 'Create' }).click();
      await refused.waitFor();
      await dialog.getByRole('button', { name: 'Cancel' }).click();
      await dialog.waitFor({ state: 'detached' });
      await block.getByRole('button', { name: 'Revoke API tokens' }).click();
      await dialog.getByRole('button', { name: 'Revoke all' }).click();
      await refused.waitFor();
      await signInElsewhere(page, input.user, input.password);
      await page.goto(input.page);
      await block.getByText('left open').waitFor();
      expect('tokens', await tokens(), 2);
    });

    await step('revoke all', async () => {
      await block.getByRole('button', { name: 'Revoke API tokens' }).click();
      await dialog.getByRole('button', { name: 'Revoke all' }).click();
      await block.getByText('You have no API tokens yet').waitFor();
    });

    await step('it works under a policy that allows only files of the own origin, and no markup from text', async () => {
      await page.route(input.page, async (route) => {
        const response = await route.fetch();
        await route.fulfill({ response, headers: {
          ...response.headers(), 'content-security-policy': "script-src 'self'; style-src 'self'; connect-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'",
        } });
      });
      await page.goto(input.page);
      await create('under a policy');
      expect('its own look', await block.locator('.at-list li').first().evaluate((e) => getComputedStyle(e).display), 'flex');
      const ours = wrong.filter((one) => !one.includes('inline style')); // the page has a style element
      wrong.length = 0;
      expect('what the policy blocked', ours, []);
      await page.unrouteAll();
      await page.goto(input.page);
      await block.getByRole('button', { name: 'Revoke API tokens' }).click();
      await dialog.getByRole('button', { name: 'Revoke all' }).click();
      await block.getByText('You have no API tokens yet').waitFor();
    });

    await step('while the portal is away, the profile is as it was', async () => {
      await silent('no answer', () => page.route(api, (route) => route.abort()));
      await silent('503', () => page.route(api, (route) => route.fulfill({ status: 503, body: '{"message":"x"}' })));
      await silent('401', () => page.route(api, (route) => route.fulfill({ status: 401, body: '{}' })));
      await silent('a page in its place', () => page.route(api, (route) => route.fulfill({ status: 200, contentType: 'text/html', body: '<h1>Maintenance</h1>' })));
      await silent('no list', () => page.route(api, (route) => route.fulfill({ status: 200, body: '{"values":[]}' })));
      await silent('no script', () => page.route(script, (route) => route.fulfill({ status: 502, body: 'Bad Gateway' })));
    });

    await step('on other pages it asks for nothing and draws nothing', async () => {
      let asked = 0;
      await page.route(api, (route) => { asked++; return route.continue(); });
      await page.goto(`${input.url}${input.elsewhere}`);
      await page.addScriptTag({ url: script });
      if (input.product === 'Jira') await page.goto(`${input.page}?name=carol`);
      await settle();
      expect('requests', asked, 0);
      expect('blocks', await block.count(), 0);
      if (input.product === 'Jira') {
        await page.goto(`${input.page}?name=${input.user}`);
        await block.getByText('You have no API tokens yet').waitFor();
      }
      await page.unrouteAll();
    });

    await step('twice on the page, it draws one block', async () => {
      await page.goto(input.page);
      await page.addScriptTag({ url: script });
      await settle();
      expect('blocks', await block.count(), 1);
    });
  },
  unlicensed: async () => {
    await step('without a licence, it says so', async () => {
      await block.getByText('their licence is missing').waitFor();
      await see('unlicensed');
    });
  },
};

await signIn(page, input.user, input.password);
await states[input.state]();
await step('every picture follows the rules for everybody', async () => {
  if (rulesChecked < 50) throw new Error(`only ${rulesChecked} rules were checked`);
});
await browser.close();
