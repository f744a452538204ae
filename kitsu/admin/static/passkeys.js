// Forms that a passkey completes: the browser is asked when the form is sent, and its answer goes into a field.
// Without this script, or in a browser without passkeys, they stay hidden.
const isSupported = window.PublicKeyCredential && PublicKeyCredential.parseRequestOptionsFromJSON;

for (const form of document.querySelectorAll("form[data-passkey]")) {
  form.hidden = !isSupported;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const failure = document.getElementById("failure");
    failure.hidden = true;
    try {
      const credential = await ask(form.dataset.passkey, JSON.parse(form.dataset.options));
      form.elements.credential.value = JSON.stringify(credential);
    } catch (error) {
      failure.textContent = reasons[error.name] || `The browser can't use the passkey: ${error.message}`;
      failure.hidden = false;
      return;
    }
    form.submit();
  });
}

const reasons = {
  NotAllowedError: "The passkey was not used: it was cancelled, or the time was over. Try again.",
  InvalidStateError: "This device has a passkey for your account already.",
  SecurityError: "Passkeys don't work at this address.",
};

function ask(kind, options) {
  return kind === "create"
    ? navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
    : navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
}
