// The search runs in a worker, which browsers refuse to pages opened as files. There an
// iframe takes its place: same messages, in the page's own thread.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.frame = frame.contentWindow;
      this.ready = new Promise((resolve) => {
        frame.contentWindow.ready = resolve;
      });
      addEventListener("message", ({ source, data }) => {
        if (source === this.frame) {
          this.dispatchEvent(new MessageEvent("message", { data }));
        }
      });
      const page = frame.contentDocument;
      page.open();
      page.write(`<body><script>
        window.postMessage = (data) => parent.postMessage(data, "*");
        window.importScripts = async (...urls) => {
          for (const url of urls) {
            await new Promise((resolve) => {
              const script = document.createElement("script");
              Object.assign(script, { src: url, onload: resolve });
              document.body.append(script);
            });
          }
        };
      </script><script src="${url}" onload="ready()"></script>`);
      page.close();
    }

    postMessage(data) {
      this.ready.then(() =>
        this.frame.dispatchEvent(new MessageEvent("message", { data })),
      );
    }

    terminate() {
      this.frame.frameElement.remove();
    }
  };
}
