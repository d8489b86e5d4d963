/**
 * What a browser gets at `/` before it has shown a token: a page that takes the token once from the
 * URL's fragment (which never leaves the browser) or from a field, and trades it for a cookie that
 * scripts cannot read.
 */
export const LOGIN_PAGE = `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Taskloom</title>
<style>
  :root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
  main { max-width: 28rem; margin: 20vh auto 0; padding: 0 1rem; }
  input { font: inherit; width: 100%; box-sizing: border-box; padding: .4rem .6rem; }
  #message { min-height: 1.5em; color: #d55e00; }
</style>
<main><h1>Taskloom</h1>
<form><label>Token of this cluster <input name="token" type="password" autocomplete="off" autofocus></label></form>
<p id="message" role="status"></p>
<p>It stands in the cluster's connection file; <code>taskloom cluster dashboard NAME</code> prints a link that holds it.</p></main>
<script>
  async function login(token) {
    const answer = await fetch('login', { method: 'POST', headers: { Authorization: 'Bearer ' + token } });
    if (answer.ok) location.replace(location.pathname);
    else document.getElementById('message').textContent = 'That token is not the one of this cluster.';
  }
  document.forms[0].addEventListener('submit', event => {
    event.preventDefault();
    login(event.target.token.value.trim());
  });
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  history.replaceState(null, '', location.pathname);
  if (given) login(given);
</script></html>
`;
