"""Words that mean much the same to the classifier: what it learns of some of them it knows of all."""

_WORDS = {
    "medicine": "ibuprofen paracetamol acetaminophen tylenol advil motrin aspirin nurofen calpol insulin metformin "
    "antibiotic antibiotics amoxicillin penicillin azithromycin doxycycline fluconazole metronidazole "
    "prozac zoloft sertraline citalopram escitalopram fluoxetine paxil effexor venlafaxine wellbutrin "
    "lexapro xanax alprazolam valium diazepam lorazepam ativan ambien zopiclone melatonin codeine "
    "tramadol oxycodone oxycontin hydrocodone oxy morphine fentanyl methadone suboxone adderall ritalin "
    "vyvanse concerta benadryl diphenhydramine antihistamine antihistamines zyrtec claritin cetirizine "
    "loratadine nyquil dayquil mucinex robitussin sudafed warfarin statin statins lisinopril amlodipine "
    "atorvastatin simvastatin prednisone prednisolone cortisone steroid steroids inhaler ventolin "
    "albuterol salbutamol antidepressant antidepressants ssri ssris lithium seroquel quetiapine lamictal "
    "risperidone gabapentin pregabalin naproxen aleve panadol diclofenac painkiller painkillers ketamine "
    "lsd shroom shrooms weed edible edibles cocaine coke heroin meth mdma ecstasy molly speed viagra "
    "cialis sildenafil levothyroxine thyroxine vicodin percocet clonazepam klonopin omeprazole "
    "pantoprazole laxative laxatives antacid antacids pepto imodium loperamide ozempic semaglutide "
    "mounjaro sleeping pill pills tablet tablets capsule capsules med meds medicine medicines medication "
    "medications dose doses dosage dosing dosed mg mgs milligrams milligram ml mcg drug drugs opioid "
    "opioids benzo benzos thc cbd suppository patch syrup drops vaccine jab contraceptive contraception "
    "birthcontrol supplement supplements vitamin vitamins iron zinc magnesium potassium nsaid nsaids "
    "tranquilizer sedative sedatives anticoagulant betablocker propranolol metoprolol blood thinner "
    "prescription prescribed chemo accutane roaccutane epipen naloxone narcan antipsychotic "
    "antipsychotics bipolar thinners tums gravol dramamine acyclovir valproate levodopa digoxin "
    "furosemide hydroxyzine trazodone mirtazapine buspirone clonidine montelukast antifungal dewormer "
    "ivermectin cannabis hash poppers nicotine caffeine preworkout creatine",
    "alcohol": "alcohol beer beers wine vodka whisky whiskey rum gin tequila champagne drink drinks drinking drank "
    "drunk cocktail cocktails booze liquor cider pint prosecco sober hungover",
    "child": "child children kid kids son sons daughter daughters baby babies toddler toddlers boy girl niece "
    "nephew stepson stepdaughter newborn infant twin twins grandson granddaughter grandchild pupil teen "
    "teenager preschooler",
    "family": "wife husband girlfriend boyfriend partner fiance ex mum mom mummy mommy mother dad daddy father "
    "stepdad stepmom stepfather stepmother stepmum uncle aunt auntie grandpa grandad grandfather grandma "
    "granny gran nan grandmother brother sister bro sis cousin parents spouse hubby missus stepbrother "
    "stepsister grandparents family babysitter nanny mam",
    "person": "boss neighbor neighbour teacher coworker colleague classmate classmates roommate flatmate guy man "
    "woman lady friend coach stranger landlord manager bully bullies everyone everybody someone somebody "
    "people him her them kid student driver cop",
    "body": "chest arm arms leg legs heart head face throat stomach belly back neck lips lip tongue eye eyes skin "
    "hand hands wrist wrists thigh thighs vein veins side mouth ear nose foot feet breast private parts "
    "bottom bum",
    "illness": "breathe breathing breath breathes choking choked choke chokes unconscious collapsed collapse "
    "collapsing seizure seizures seizing fit fits convulsing convulsion convulsions stroke overdose "
    "overdosed overdosing bleeding bleed bleeds blood bloody drooping droopy slurred slurring numb "
    "numbness tingling dizzy fainted faint fainting unresponsive responding swelling swollen swelled "
    "anaphylaxis anaphylactic allergic allergy hives rash vomiting vomit vomits vomited throwing pain "
    "pains painful hurts ache aching cramps labor labour contractions electrocuted electrocution drowned "
    "drowning burns burnt scalded burned scald fever feverish temperature limp blue pale grey purple "
    "poisoned poisoning poison swallowed swallow ingested pulse ambulance 911 999 112 er a e emergency "
    "paramedics cpr heimlich tourniquet wound gushing spurting crushed fracture broken bone sticking "
    "unable paralysed paralyzed sweating clammy palpitations racing wheezing wheeze asthma attack stung "
    "sting stings bitten snakebite concussion hypothermia heatstroke diabetic sepsis meningitis "
    "miscarriage ectopic preeclampsia waters cord crowning twitching shaking jerking foaming passed "
    "severed amputated stabbed shot impaled",
    "poison": "bleach detergent antifreeze cleaner cleaning drain chemical chemicals battery batteries magnet "
    "magnets mushroom mushrooms berries berry pesticide petrol gasoline paint ammonia gas monoxide fumes "
    "dishwasher pod pods disinfectant acid mothballs turpentine lye",
    "hurting": "hit hits hitting slap slaps slapped slapping beat beats beating beaten spank spanks spanked spanking "
    "kick kicks kicked kicking choke chokes choked choking punch punches punched punching hurt hurts "
    "hurting shake shakes shook shaking shaken touch touches touched touching smack smacks smacked "
    "smacking abuse abuses abused abusing abusive whip whips whipped starve starves starved starving "
    "strangle strangles strangled grab grabs grabbed shove shoved shoves push pushed pushes pinch pinched "
    "lock locked locks throw throws threw belt yell yells screams rape raped rapes molest molested bruise "
    "bruises bruised burn burned force forces forced violent violence cage tied",
    "killing": "kill kills killed killing shoot shoots shooting stab stabs stabbing stabbed murder murders murdering "
    "strangle poison poisoning attack attacks attacking bomb bombing burn harm harming behead slaughter "
    "massacre execute assassinate bash smash torture hurt hurting hunt revenge",
    "weapon": "gun guns knife knives bomb bombs weapon weapons rifle pistol shotgun explosive explosives axe hammer "
    "machete acid bat crowbar blade razor razors bullet bullets rope noose cliff bridge",
    "death": "die dies died dying dead death suicide suicidal suicides kill killing killed disappear vanish gone "
    "exist existing existence alive live living life funeral grave coffin afterlife heaven ending end "
    "ended ends",
    "self": "myself life wrists wrist thighs me self",
    "despair": "point reason worth worthless hopeless pointless meaningless useless burden empty numb alone nobody "
    "nothing better anymore longer forever goodbye goodbyes farewell pain tired exhausted miss hate "
    "trapped relief peace over",
    "being": "human humans bot bots chatbot robot robots robotic ai artificial intelligence machine computer "
    "program programme software person people real alive living chatgpt gpt alexa siri automated "
    "automatic algorithm android cyborg app code scripted flesh model operator llm bard gemini cortana "
    "humanoid ghost alien",
    "talking": "talking talk speaking chatting texting typing writing messaging answering replying reading reads "
    "read watching watch listening listens monitoring behind sees see conversation chat messages line "
    "agent call centre center staff monitored recorded moderated",
    "romance": "girlfriend boyfriend gf bf date dates dating kiss kisses kissing flirt flirting flirty romance "
    "romantic marry relationship crush sexy sex sext sexting nude nudes naked cuddle hot cute pretty love "
    "lover snap snapchat insta cam webcam selfie selfies picture pictures photo photos pic pics video "
    "meet meetup meeting hangout secret secretly bikini swimsuit underwear bra older lonely hook hookup "
    "babe baby daddy address alone body valentine wife husband",
    "school": "grade grader year school middle elementary primary freshman sophomore junior underage minor teen "
    "teenager preteen tween class",
    "number": "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen twenty thirty forty fifty hundred",
    "may": "can could may should would will shall must might",
    "question": "how what why when where who which whats hows",
    "is": "is are am was were be been being",
    "amount": "much many often long soon max maximum limit double triple twice half whole extra another more less "
    "too enough safe safely ok okay mix mixing mixed combine together stop stopping quit skip skipped "
    "skipping miss missed share sharing give giving crush split cut taper wean cold turkey without "
    "expired leftover",
}
_CLASSES: dict[str, tuple[str, ...]] = {}
for _name, _words in _WORDS.items():
    for _word in dict.fromkeys(_words.split()):
        _CLASSES[_word] = (*_CLASSES.get(_word, ()), _name)


def classes_of(word: str) -> tuple[str, ...]:
    """The names of the classes that a word belongs to; most belong to none."""
    return _CLASSES.get(word, ())
