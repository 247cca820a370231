// Drives the installed browser over the DevTools protocol.
import { execFile } from 'node:child_process';
import { readFile, mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { expect, input } from './steps.mjs';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export const browser = await chromium.launch({
  executablePath: input.chromium,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
  ],
});
export const version = browser.version();

/** What a page did that it should not have: dialogs that a script opened, what its policy blocked, and errors in its script. */
export const wrong = [];

/** A window of somebody, with cookies of its own. */
export async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'light', ...options });
  context.setDefaultTimeout(10_000);
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: new URL(input.url).origin });
  context.on('page', watch);
  return context.newPage();
}

function watch(page) {
  page.on('dialog', async (dialog) => {
    wrong.push(`a dialog: ${dialog.type()} ${dialog.message()}`);
    await dialog.dismiss();
  });
  page.on('pageerror', (error) => wrong.push(`an error of a script: ${error.message}`));
  page.on('console', (message) => {
    // The browser logs every answer with an error status there too.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) wrong.push(`console: ${message.text()}`);
  });
}

const login = {
  Jira: ['#login-form-username', '#login-form-password', '#login-form-submit'],
  Confluence: ['#os_username', '#os_password', '#loginButton'],
}[input.product];

/** Opens the page as nobody, and signs in where it leads to. */
export async function signIn(page, user, password) {
  await page.goto(input.page);
  await page.fill(login[0], user);
  await page.fill(login[1], password);
  await page.click(login[2]);
  await page.waitForURL(input.page);
}

/** Signs the user of a window out, and somebody else in, in another tab of it. */
export async function signInElsewhere(page, user, password) {
  await page.context().clearCookies();
  const tab = await page.context().newPage();
  await signIn(tab, user, password);
  await tab.close();
}

const widths = [1600, 360];

/**
 * Looks at one state of the page: takes pictures, small and large, light and dark, and has the rules of axe checked on each.
 * Nothing may stick out on the side. theme switches what does not follow the browser.
 */
export async function look(page, name, theme = async () => {}) {
  const folder = path.resolve(input.screenshots);
  await mkdir(folder, { recursive: true });
  const before = page.viewportSize();
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await theme(colorScheme);
    for (const width of widths) {
      await page.setViewportSize({ width, height: width < 500 ? 740 : 900 });
      await page.screenshot({ path: path.join(folder, `${name}-${colorScheme}-${width}.png`), fullPage: true });
      const sticksOut = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      expect(`${name}, ${colorScheme}, ${width} px: pixels that stick out`, sticksOut, 0);
      await checkRules(page, `${name}, ${colorScheme}, ${width} px`);
      if (width < 500) await checkTouch(page, `${name}, ${colorScheme}, ${width} px`);
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await theme('light');
  await page.setViewportSize(before);
}

/** Checks what a finger needs: controls that are 44 px high, fields that no browser zooms into, and a dialog that shows all its fields. */
async function checkTouch(page, where) {
  const wrong = await page.evaluate(() => {
    const scope = document.querySelector('dialog[open]') ?? document.body;
    const small = [...scope.querySelectorAll('.button, button, summary, .choice, input[type=text], input[type=password], select, textarea')]
      .filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 44)
      .map((e) => `${e.outerHTML.slice(0, 80)} is ${e.getBoundingClientRect().height} px high`);
    const zoomed = [...scope.querySelectorAll('input[type=text], input[type=password], select, textarea')]
      .filter((e) => parseFloat(getComputedStyle(e).fontSize) < 16).map((e) => `${e.id} makes the browser zoom`);
    const footer = scope.querySelector('form > .buttons');
    const hidden = scope.tagName !== 'DIALOG' ? [] : [...scope.querySelectorAll('input:not([type=hidden]), select, textarea')].filter((e) => {
      if (!e.checkVisibility()) return false;
      e.scrollIntoView({ block: 'end' });
      return e.getBoundingClientRect().bottom > (footer?.getBoundingClientRect().top ?? innerHeight);
    }).map((e) => `${e.id} is hidden behind the buttons`);
    scope.scrollTop = 0;
    return [...small, ...zoomed, ...hidden];
  });
  expect(`${where}: controls that are hard to touch`, wrong, []);
}

export let rulesChecked = 0;

async function checkRules(page, where) {
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  rulesChecked += passes.length;
  expect(`${where}: violations`, violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html).join(' ')}`), []);
}

/** The status with which the product, or the ingress, answers a script of the user's. */
export async function curl(user, token) {
  const { stdout } = await promisify(execFile)('curl', [
    '--silent', '--output', '/dev/null', '--write-out', '%{http_code}', '--max-time', '10', '--user', `${user}:${token}`, input.url + input.myself,
  ]);
  return Number(stdout);
}

/** Waits until a script of the user's gets this status: the webhook learns of a change by its watch. */
export async function curlUntil(user, token, want) {
  let got;
  for (const end = Date.now() + 20_000; Date.now() < end;) {
    got = await curl(user, token);
    if (got === want) return;
  }
  throw new Error(`curl: HTTP ${got}, want ${want}`);
}
