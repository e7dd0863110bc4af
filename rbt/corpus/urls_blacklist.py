"""Which outbound links are no pages of prose: by host, and by the ending of the path.

    canonical URL ──host and its parents──> "domain" | ──ending of the path──> "extension" | ──neither──> ""

Our own list, after WebText's rules as published: Wikipedia is out (it is a corpus of its own), and so is what holds no
article: the places themselves where links are shared, images, video, sound, maps, shops' product pages, archives and
programs. A domain stands for all hosts below it. `rbt corpus urls --blacklist FILE` adds to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from rbt.errors import ConfigError
from rbt.formats.canonical_url import canonical_url, host_of, path_of

DOMAINS: dict[str, str] = {  # why -> domains
    "encyclopedias that are sources of their own, and their mirrors": """
        wikipedia.org wikimedia.org wikiwand.com wikiquote.org wikisource.org wiktionary.org wikidata.org
        infogalactic.com everipedia.org dbpedia.org""",
    "the places where links are shared": """
        reddit.com redd.it redditmedia.com redditstatic.com redditlog.com reddituploads.com reddit.tv removeddit.com
        ceddit.com unreddit.com digg.com stumbleupon.com delicious.com tinychat.com discord.gg discord.com
        discordapp.com t.me telegram.me chat.whatsapp.com""",
    "social networks": """
        facebook.com fb.com fb.me fbcdn.net messenger.com twitter.com x.com t.co twimg.com
        instagram.com instagr.am pinterest.com pin.it linkedin.com lnkd.in myspace.com vk.com weibo.com
        snapchat.com plus.google.com google.plus ask.fm tiktok.com threads.net mastodon.social""",
    "images": """
        imgur.com i.imgur.com minus.com min.us flickr.com flic.kr staticflickr.com photobucket.com tinypic.com
        imageshack.us imageshack.com imgflip.com imgbox.com imgbb.com ibb.co postimg.org postimg.cc gfycat.com
        giphy.com gph.is redgifs.com gyazo.com prnt.sc prntscr.com puu.sh deviantart.com deviantart.net 500px.com
        quickmeme.com qkme.me memegenerator.net memecrunch.com livememe.com makeagif.com gifsound.com gifyoutube.com
        mediacru.sh slimg.com sli.mg vidble.com eroshare.com picsarus.com cheezburger.com icanhascheezburger.com
        failblog.org 9gag.com pixiv.net artstation.com unsplash.com shutterstock.com gettyimages.com""",
    "video and streams": """
        youtube.com youtu.be youtube-nocookie.com ytimg.com vimeo.com dailymotion.com dai.ly liveleak.com
        twitch.tv justin.tv streamable.com vid.me vine.co metacafe.com veoh.com break.com funnyordie.com hulu.com
        netflix.com ustream.tv livestream.com mixer.com oddshot.tv plays.tv medal.tv bitchute.com rumble.com
        worldstarhiphop.com video.google.com coub.com webmshare.com pornhub.com xvideos.com xhamster.com redtube.com
        youporn.com xnxx.com""",
    "sound": """
        soundcloud.com bandcamp.com spotify.com spoti.fi mixcloud.com grooveshark.com last.fm pandora.com
        audioboom.com clyp.it vocaroo.com itunes.apple.com music.apple.com podcasts.apple.com""",
    "shops, funds and tickets": """
        amazon.com amazon.co.uk amazon.ca amazon.de amazon.fr amazon.in amzn.to amzn.com ebay.com ebay.co.uk ebay.ca
        ebay.com.au etsy.com craigslist.org aliexpress.com alibaba.com newegg.com walmart.com bestbuy.com target.com
        redbubble.com teespring.com cafepress.com zazzle.com threadless.com patreon.com paypal.com
        paypal.me humblebundle.com g2a.com steampowered.com steamcommunity.com
        store.steampowered.com play.google.com apps.apple.com gog.com ticketmaster.com stubhub.com""",
    "files and programs": """
        hastebin.com jsfiddle.net codepen.io ideone.com dropbox.com dropboxusercontent.com drive.google.com
        docs.google.com mega.nz mega.co.nz mediafire.com rapidshare.com megaupload.com megavideo.com sendspace.com
        zippyshare.com scribd.com slideshare.net issuu.com thepiratebay.org kickass.to rarbg.to nexusmods.com""",
    "maps, searches, translations, forms": """
        maps.google.com google.com goo.gl bing.com duckduckgo.com wolframalpha.com
        translate.google.com strawpoll.me strawpoll.com poll.fm polldaddy.com surveymonkey.com typeform.com
        lmgtfy.com openstreetmap.org""",
    "short links, whose target is not seen": """
        bit.ly tinyurl.com ow.ly is.gd v.gd adf.ly buff.ly dlvr.it j.mp tr.im cli.gs su.pr ift.tt shrinkster.com""",
}
EXTENSIONS = """
    .jpg .jpeg .jpe .png .gif .gifv .bmp .tif .tiff .webp .svg .ico .psd .heic .raw
    .mp4 .m4v .webm .mov .avi .wmv .mkv .flv .mpg .mpeg .ogv .3gp .swf .rm .ram .asf .asx .m3u8
    .mp3 .m4a .wav .ogg .oga .flac .aac .wma .mid .midi .m3u .pls
    .zip .gz .tgz .bz2 .xz .7z .rar .tar .iso .dmg .pkg .exe .msi .apk .deb .rpm .jar .torrent .bin
    .pdf .ps .djvu .epub .mobi .doc .docx .odt .rtf .xls .xlsx .ods .csv .ppt .pptx .pps .odp
    .js .css .json .xml .rss .atom .ics .kml .kmz .ttf .woff"""


@dataclass(frozen=True)
class Blacklist:
    """Hosts (with all below them) and endings of paths, in lower case."""

    domains: frozenset[str]
    extensions: frozenset[str]

    def rule(self, canonical: str) -> str:
        """"domain" or "extension" where a canonical URL is on the list, else ""."""
        host = host_of(canonical)
        while host:
            if host in self.domains:
                return "domain"
            host = host.partition(".")[2]
        name = path_of(canonical).rpartition("/")[2].lower()
        dot = name.rfind(".")
        return "extension" if dot >= 0 and name[dot:] in self.extensions else ""

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that name the content."""
        lines = "\n".join([*sorted(self.domains), *sorted(self.extensions)])
        return blake2b(lines.encode(), digest_size=16).hexdigest()


def load_blacklist(files: tuple[str, ...] | list[str] = ()) -> Blacklist:
    """Our list and the users' files: one domain or one .extension a line, # starts a comment. Raises ConfigError."""
    domains = {name for names in DOMAINS.values() for name in names.split()}
    extensions = set(EXTENSIONS.split())
    for file in files:
        try:
            lines = Path(file).read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("expected a blacklist in UTF-8", path=file, found=str(error)) from error
        for number, line in enumerate(lines, 1):
            if entry := line.partition("#")[0].strip().lower():
                where = f"{file}, line {number}"
                if entry.startswith("."):
                    extensions.add(_extension(entry, where))
                else:
                    domains.add(_domain(entry, where))
    return Blacklist(frozenset(domains), frozenset(extensions))


def _extension(entry: str, where: str) -> str:
    if len(entry) == 1 or set(entry[1:]) & set("./?# "):  # it is compared with what follows the last dot
        raise ConfigError("expected an .extension with one dot", path=where, found=repr(entry), cure=".pdf, .gz")
    return entry


def _domain(entry: str, where: str) -> str:
    canonical = canonical_url(f"http://{entry}")
    if not canonical or path_of(canonical) or "?" in canonical:
        raise ConfigError("expected a domain or a .extension", path=where, found=repr(entry), cure="example.com, .pdf")
    return host_of(canonical)
