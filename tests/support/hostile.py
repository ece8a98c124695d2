"""A mail in HTML that tries everything to be noticed when it is read."""

ATTEMPTS = """
<html><head>
<title>Hostile</title>
<base href="{host}/base/">
<meta http-equiv="refresh" content="0;url={host}/refresh">
<meta name="referrer" content="unsafe-url">
<link rel="stylesheet" href="{host}/sheet.css">
<link rel="icon" href="{host}/icon.png">
<link rel="dns-prefetch" href="{host}">
<link rel="preconnect" href="{host}">
<link rel="prefetch" href="{host}/prefetch">
<link rel="preload" as="image" href="{host}/preload.png">
<link rel="modulepreload" href="{host}/module.js">
<style>
@import url("{host}/import.css");
@import "{host}/import-string.css";
@font-face {{ font-family: "spy"; src: url("{host}/font.woff2"); }}
h1 {{ font-family: "spy"; color: #a00; background: url({host}/background.png); }}
p::before {{ content: u\\72l("{host}/escaped.png"); }}
div {{ background-image: image-set("{host}/image-set.png" 1x); list-style-image: URL( '{host}/list.png' ); }}
.x {{ --spy: url({host}/variable.png); background: var(--spy); cursor: url({host}/cursor.png), auto; }}
</style>
<script>document.title = "hacked"; top.document.title = "hacked"; fetch("{host}/fetch")</script>
<script src="{host}/script.js"></script>
</head>
<body onload="document.title='hacked'" background="{host}/body.png"
 style="background: #eef url('{host}/body-style.png')">
<h1 onclick="document.title='hacked'" style="background: url({host}/heading.png)">A very good offer</h1>
<p class="x">It is only for you.</p>
<img class="remote" src="{host}/pixel.png" srcset="{host}/srcset.png 2x" referrerpolicy="unsafe-url" alt="Our logo"
 onerror="document.title='hacked'">
<img class="remote" src="{odd_host}/odd.png" alt="">
<img src="/admin/logout/" alt=""><img src="x.png" onerror="document.title='hacked'" alt="">
<img class="inline" src="data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7" alt="dot">
<picture><source srcset="{host}/source.png"></picture>
<input type="image" src="{host}/input.png">
<table background="{host}/table.png"><tr><td background="{host}/cell.png">Cell</td></tr></table>
<iframe src="{host}/frame"></iframe>
<iframe srcdoc="<img src='{host}/srcdoc.png'><script>top.document.title='hacked'</script>"></iframe>
<object data="{host}/object"><embed src="{host}/embed"></object>
<video poster="{host}/poster.png" src="{host}/video.mp4" autoplay></video>
<audio src="{host}/audio.mp3" autoplay></audio>
<svg onload="document.title='hacked'"><image href="{host}/svg.png"/><style>@import "{host}/svg.css";</style>
<script>document.title='hacked'</script><use href="{host}/use.svg#a"/></svg>
<math><mtext><style><img src="{host}/math.png"></style></mtext></math>
<noscript><img src="{host}/noscript.png"></noscript><template><img src="{host}/template.png"></template>
<form action="{host}/form" method="post" target="_top"><input name="password" autofocus><button>Log in</button></form>
<p><a class="link" href="javascript:document.title='hacked'">Run</a>
<a class="link" href="{host}/link" ping="{host}/ping" target="_top">Click here</a>
<a class="link" href="{host}/blank" target="_blank">Or here</a></p>
<marquee onstart="document.title='hacked'">Now!</marquee>
<details open ontoggle="document.title='hacked'"><summary>More</summary>Much more.</details>
</body></html>
"""


def hostile_html(host: str) -> str:
    """Return HTML that tries to reach a host (`http://127.0.0.1:8000`, say); two of the ways are plain images."""
    return ATTEMPTS.format(host=host, odd_host=host.replace("http:", " \tht\ntp:").replace("//", "\\\\"))
